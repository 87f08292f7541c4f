import pytest

from fake.results import put_record
from quatrain.report.columns import difference_columns, verdict_text
from quatrain.report.differences import build_differences
from quatrain.report.document import differences_as_json
from quatrain.report.groups import Groups
from quatrain.report.legend import verdict_legend
from quatrain.report.runs import load_runs
from quatrain.report.sentences import difference_sentence
from quatrain.results import Comparison
from quatrain.results.fit import fit
from quatrain.specs import StudyError


def table_of(store):
    study = load_runs(store)
    return build_differences(study, Groups(study))


@pytest.fixture
def change(store):
    """Build the table after changes of the manifest."""

    def build(**changes):
        store.write_manifest(store.manifest().model_copy(update=changes))
        return table_of(store)

    return build


@pytest.fixture
def first_row(store, make_record):
    """The difference 1111 - 0110 after other scores of 0110 by seed."""

    def build(scores):
        for seed, score in enumerate(scores):
            put_record(store, make_record("0110", seed, score))
        return table_of(store).rows[0]

    return build


def test_differences_are_contrasts_of_the_fit_of_their_group(store, report):
    first, _, missing = report.differences.rows
    study = load_runs(store)
    expected = fit(Groups(study).values("self", "bleu")).contrast({"1111": 1, "0110": -1})
    assert first.answer.estimate == expected
    assert (first.outcome, first.seeds) == ("higher", 3)
    assert (missing.answer, missing.outcome) == (None, "not run")


def test_a_difference_has_an_estimate_of_its_own_cells(store, report):
    first, _, missing = report.differences.rows
    values = Groups(load_runs(store)).values("self", "bleu")
    own = {cell: values[cell] for cell in ("1111", "0110")}
    assert first.welch == fit(own, "separate").contrast({"1111": 1, "0110": -1})
    assert missing.welch is None


def test_a_difference_has_a_price(report):
    first, *_ = report.differences.rows
    assert first.price["multiply_adds"] == pytest.approx(2e8)
    assert "paper_multiply_adds" not in first.price


def test_a_difference_has_a_price_by_the_papers_convention(store):
    for record in store.all_records():
        cost = {**record.cost, "paper_multiply_adds": 3 * record.cost["multiply_adds"]}
        put_record(store, record.model_copy(update={"cost": cost}))
    first, *_ = table_of(store).rows
    assert first.price["paper_multiply_adds"] == pytest.approx(6e8)


def test_one_seed_has_a_value_and_no_verdict(store):
    for record in store.all_records():
        if record.seed:
            (store.folder(record.identity) / "record.json").unlink()
    row = table_of(store).rows[0]
    assert (row.seeds, row.outcome) == (1, "one seed")
    assert row.answer.estimate.value == pytest.approx(1.1)


def test_equal_differences_of_a_pair_prove_nothing(store, make_record, change):
    cells = [cell for cell in store.manifest().cells if cell.name in {"1111", "0110"}]
    pair = Comparison(left="1111", right="0110", group="self")
    change(cells=tuple(cells), comparisons=(pair,))
    for seed, score in enumerate((30.0, 30.4, 30.1)):
        put_record(store, make_record("0110", seed, score))
    row = table_of(store).rows[0]
    assert (row.outcome, row.answer.adjusted_p) == ("inconclusive", 1.0)
    flat = differences_as_json(table_of(store))[0]
    assert (flat["low"], flat["high"], flat["p"]) == (None, None, 1.0)


def test_a_negative_difference_is_lower(first_row):
    assert first_row((50.0, 50.2, 50.1)).outcome == "lower"


def test_a_declared_margin_can_make_cells_equivalent(store, change, make_record):
    for seed, score in enumerate((31.0, 31.5, 31.1)):
        put_record(store, make_record("0110", seed, score))
    assert table_of(store).rows[0].outcome == "inconclusive"
    table = change(margin=2.0)
    assert table.rows[0].outcome == "equivalent"
    assert verdict_text(table.rows[0], table.margin) == "equivalent within 2"
    assert "within 2." in verdict_legend(table)


@pytest.mark.parametrize(("expect", "as_expected"), [("higher", True), ("lower", False)])
def test_a_prediction_is_met_or_not(change, store, expect, as_expected):
    first = store.manifest().comparisons[0].model_copy(update={"expect": expect})
    assert change(comparisons=(first,)).rows[0].as_expected is as_expected


def test_a_difference_without_all_planned_seeds_is_judged_at_a_lower_level(store, make_record):
    complete = table_of(store)
    assert complete.rows[0].level == complete.level == pytest.approx(0.05)
    assert "while planned seeds" not in verdict_legend(complete)
    (store.folder(make_record("0110", 2, 0.0).identity) / "record.json").unlink()
    table = table_of(store)
    row = table.rows[0]
    assert (table.level, row.level) == pytest.approx((0.05, 0.05 / 3))
    assert (row.progress.done, row.progress.planned) == (2, 3)
    assert "of 1.7 % while planned seeds have not finished" in verdict_legend(table)
    seeds = next(x for x in difference_columns(table) if x.header == "seeds")
    assert seeds.texts == ("2 of 3", "3", "0")
    assert ", 2 of 3 seeds" in difference_sentence(row, table).text
    assert differences_as_json(table)[0]["seeds_planned"] == 3


def test_a_missing_metric_is_rejected(store, make_record):
    put_record(store, make_record("0110", 1, 30.0, metrics={"chrf": 1.0}))
    with pytest.raises(StudyError) as info:
        table_of(store)
    assert info.value.field == "metric"


def test_differences_may_be_in_another_metric(change):
    table = change(compared_in="chrf")
    assert table.metric == "chrf"
    assert table.rows[0].answer.estimate.value == pytest.approx(1.1)
