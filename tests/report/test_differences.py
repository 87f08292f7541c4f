from dataclasses import replace

import pytest

from quatrain.report.columns import EQUAL_LEGEND, verdict_legend
from quatrain.report.differences import build_differences
from quatrain.report.render import differences_as_json
from quatrain.report.runs import load_runs
from quatrain.results import summarize
from quatrain.specs import StudyError


def test_differences_are_paired_by_seed(report):
    significant, open_, missing = report.differences.rows
    assert significant.summary == summarize([31.0 - 29.9, 31.4 - 30.1, 31.1 - 30.2])
    assert significant.verdict == "1111 is higher"
    assert significant.adjusted_p == pytest.approx(2 * significant.summary.p)
    assert open_.summary.low < 0 < open_.summary.high
    assert open_.verdict == "inconclusive"
    assert (missing.summary, missing.verdict) == (None, "no common seed")


@pytest.fixture
def first_row(store, make_record):
    """The difference 1111 - 0110 after other scores of 0110 by seed."""

    def build(scores):
        for seed, score in enumerate(scores):
            store.write_record(make_record("0110", seed, score))
        return build_differences(load_runs(store)).rows[0]

    return build


def test_one_common_seed_is_inconclusive(store):
    for record in store.all_records():
        if record.seed:
            (store.folder(record.identity) / "record.json").unlink()
    row = build_differences(load_runs(store)).rows[0]
    assert (row.summary.n, row.verdict) == (1, "inconclusive (one seed)")


def test_equal_differences_are_inconclusive_and_explained(report, first_row):
    row = first_row((30.0, 30.4, 30.1))
    assert (row.verdict, row.adjusted_p) == ("inconclusive (equal differences)", 1.0)
    table = replace(report.differences, rows=(row,))
    assert EQUAL_LEGEND in verdict_legend(table)
    assert EQUAL_LEGEND not in verdict_legend(report.differences)
    flat = differences_as_json(table)[0]
    assert (flat["low"], flat["high"], flat["p"]) == (None, None, 1.0)


def test_negative_difference_names_the_right_cell(first_row):
    assert first_row((50.0, 50.2, 50.1)).verdict == "0110 is higher"


def test_difference_that_is_significant_only_alone_is_unadjusted(first_row):
    row = first_row((29.5, 30.6, 30.0))
    assert row.summary.p < 0.05 < row.adjusted_p
    assert row.verdict == "1111 is higher, unadjusted"


def test_missing_metric_is_rejected(store, make_record):
    store.write_record(make_record("0110", 1, 30.0, metrics={"chrf": 1.0}))
    with pytest.raises(StudyError) as info:
        build_differences(load_runs(store))
    assert info.value.field == "metric"


def test_differences_may_be_in_another_metric(store):
    manifest = store.manifest()
    store.write_manifest(manifest.model_copy(update={"compared_in": "chrf"}))
    table = build_differences(load_runs(store))
    assert table.metric == "chrf"
    assert table.rows[0].summary.mean == pytest.approx(1.1)
