import pytest

from quatrain.report.differences import build_differences
from quatrain.report.html import html_page
from quatrain.report.render import EQUAL_LEGEND, differences_as_json, markdown_page
from quatrain.report.runs import load_runs
from quatrain.report.tables import build_table
from quatrain.results import summarize
from quatrain.specs import StudyError


def test_differences_are_paired_by_seed_and_inconclusive_where_they_hold_zero(store):
    decided, open_, missing = build_differences(load_runs(store)).rows
    assert decided.summary == summarize([31.0 - 29.9, 31.4 - 30.1, 31.1 - 30.2])
    assert decided.verdict == "1111 is higher"
    assert decided.adjusted_p == pytest.approx(2 * decided.summary.p)
    assert open_.summary.low < 0 < open_.summary.high
    assert open_.verdict == "inconclusive"
    assert (missing.summary, missing.verdict) == (None, "no common seed")


def test_one_common_seed_decides_nothing(store):
    for seed_folder in [store.folder(run.identity) for run in store.all_records() if run.seed]:
        (seed_folder / "record.json").unlink()
    first = build_differences(load_runs(store)).rows[0]
    assert (first.summary.n, first.verdict) == (1, "inconclusive (one seed)")


def test_equal_differences_are_inconclusive_and_the_reports_say_why(store, make_record):
    for seed, score in enumerate((30.0, 30.4, 30.1)):
        store.write_record(make_record("0110", seed, score))
    study = load_runs(store)
    table, differences = build_table(study), build_differences(study)
    first = differences.rows[0]
    assert (first.verdict, first.adjusted_p) == ("inconclusive (equal differences)", 1.0)
    assert "| +1.00 | 3 | 1.000 | inconclusive (equal differences) |" in markdown_page(
        table, differences
    )
    for text in (
        markdown_page(table, differences),
        html_page(study, table, differences, []),
    ):
        assert EQUAL_LEGEND in text
    flat = differences_as_json(differences)[0]
    assert (flat["low"], flat["high"], flat["p"]) == (None, None, 1.0)


def test_where_no_differences_are_equal_nothing_is_said_of_them(store):
    study = load_runs(store)
    assert EQUAL_LEGEND not in markdown_page(build_table(study), build_differences(study))


def test_a_negative_difference_names_the_right_cell(store, make_record):
    for seed, score in enumerate((50.0, 50.2, 50.1)):
        store.write_record(make_record("0110", seed, score))
    assert build_differences(load_runs(store)).rows[0].verdict == "0110 is higher"


def test_what_holds_alone_and_not_among_the_others_is_called_unadjusted(store, make_record):
    for seed, score in enumerate((29.5, 30.6, 30.0)):
        store.write_record(make_record("0110", seed, score))
    row = build_differences(load_runs(store)).rows[0]
    assert row.summary.p < 0.05 < row.adjusted_p
    assert row.verdict == "1111 is higher, unadjusted"


def test_a_metric_that_no_record_has_is_a_clear_error(store, make_record):
    store.write_record(make_record("0110", 1, 30.0, metrics={"chrf": 1.0}))
    with pytest.raises(StudyError, match=r'metric is "bleu", expected .* \(chrf\)'):
        build_differences(load_runs(store))


def test_differences_may_be_in_another_metric_than_the_headline(store):
    manifest = store.manifest()
    store.write_manifest(manifest.model_copy(update={"compared_in": "chrf"}))
    table = build_differences(load_runs(store))
    assert table.metric == "chrf"
    assert table.rows[0].summary.mean == pytest.approx(1.1)
