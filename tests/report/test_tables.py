from dataclasses import replace

import pytest

from fake.results import put_record
from quatrain.report.build import load_report
from quatrain.report.tables import build_matrix
from quatrain.results import Measurement
from quatrain.specs import StudyError


@pytest.fixture(scope="module")
def rows(report):
    return {(row.group, row.cell): row for row in report.table.rows}


@pytest.fixture
def notes(store):
    """The notes of the study as it is now."""
    return lambda: [note.text for note in load_report(store).table.notes]


def test_row_has_means_over_seeds_cost_and_time(rows):
    row = rows["self", "1111"]
    assert row.metrics["bleu"].mean == pytest.approx((31.0 + 31.4 + 31.1) / 3)
    assert row.metrics["bleu"].n == 3
    assert row.quantities == {
        "multiply_adds": 8e8,
        "paper_multiply_adds": None,
        "parameters": 1.2e6,
        "training_seconds": 91.0,
        "latency_seconds": 0.012,
        "peak_bytes": 10**8,
    }
    assert (row.seeds_done, row.seeds_planned, row.state) == (3, 3, "done")


def test_cell_of_two_groups_is_a_row_in_both(rows):
    first, second = (rows[group, "1111"].metrics["bleu"] for group in ("self", "cross"))
    assert (first.mean, first.n) == (second.mean, second.n)


def test_intervals_of_means_pool_the_variance_of_their_group(rows):
    summaries = [rows["self", cell].metrics["bleu"] for cell in ("1111", "0110", "0010")]
    widths = {round(summary.high - summary.mean, 9) for summary in summaries}
    assert len(widths) == 1


def test_cell_without_finished_runs_has_state_and_note(rows, report):
    row = rows["self", "w/o"]
    assert (row.metrics, set(row.quantities.values())) == ({}, {None})
    assert row.state == "1 failed, 2 absent"
    (note,) = [note.text for note in report.table.notes]
    assert "w/o" in note
    assert row.state in note


def test_many_cells_that_wait_are_counted_by_group(make_report):
    def note_of(sizes):
        waiting = {(group, str(n)): {} for group, count in sizes.items() for n in range(count)}
        done = {(group, "done"): {0: {"bleu": 1.0}} for group in sizes}
        report = make_report({**waiting, **done})
        return [note.text for note in report.table.notes]

    few, many = note_of({"a": 5, "b": 1}), note_of({"a": 6, "b": 1})
    assert few == ["runs still to be done: a/0, a/1, a/2, a/3, a/4, b/0"]
    assert many == ["runs still to be done: a (6 cells), b (1 cell)"]


def test_primary_metric_comes_first(report):
    assert report.table.metric_names == ("bleu", "chrf")


def test_missing_primary_metric_is_rejected(store, make_record):
    put_record(store, make_record("0110", 1, 30.0, metrics={"chrf": 1.0}))
    with pytest.raises(StudyError) as info:
        _ = load_report(store).table
    assert info.value.field == "metric"
    assert "chrf" in str(info.value)


def test_different_machines_are_noted(store, make_record, notes):
    put_record(store, make_record("0110", 1, 30.0, device="cuda"))
    fields = store.measurement(make_record("1111", 0, 1.0).identity).model_dump()
    identity = make_record("1111", 1, 1.0).identity
    store.write_measurement(identity, Measurement(**{**fields, "threads": 8}))
    times, latencies = notes()[-2:]
    assert times.endswith(": cpu, 1 threads; cuda, 1 threads")
    assert latencies.endswith(": cpu, 1 threads; cpu, 8 threads")


def test_costs_that_were_counted_afterwards_are_in_the_row(store, make_record, notes):
    identity = make_record("1111", 1, 1.0).identity
    counted = {"paper_multiply_adds": 9e8}
    fields = {"device": "cuda", "threads": 3, "versions": {}, "cost": counted}
    store.write_measurement(identity, Measurement(**fields))
    first, second, *_ = load_report(store).table.rows
    assert first.quantities["paper_multiply_adds"] == 9e8
    assert first.quantities["latency_seconds"] == 0.012
    assert second.quantities["paper_multiply_adds"] is None
    assert not any(note.startswith("latencies") for note in notes())


def test_data_warnings_are_noted_once(store, make_record, notes):
    for seed in (1, 2):
        put_record(store, make_record("0110", seed, 30.0, data_notes={"train: blank": 1200}))
    assert notes().count("data, train: blank: 1,200") == 1


def test_records_without_data_warnings_are_counted(store, make_record, notes):
    put_record(store, make_record("0110", 1, 30.0, data_notes=None))
    assert any(note.startswith("data: ") and "1 run" in note for note in notes())


def test_orphaned_runs_are_counted(store, make_record, notes):
    put_record(store, make_record("0100", 0, 30.0))
    assert any("1 finished run " in note for note in notes())


def test_directions_of_metrics_that_no_run_has_are_noted(store, notes):
    manifest = store.manifest()
    for names, noted in (({"chrf": False}, 0), ({"chrff": False, "bleu": False}, 1)):
        store.write_manifest(manifest.model_copy(update={"lower_is_better": names}))
        expected = "lower_is_better names metrics of no run: chrff"
        assert notes().count(expected) == noted


def test_different_signatures_of_a_metric_are_noted(store, make_record, notes):
    signatures = {"bleu": "nrefs:1|case:mixed", "miou": "mean over 3 of 3 classes"}
    put_record(store, make_record("0110", 0, 30.0, signatures=signatures))
    assert not any("mIoU" in note for note in notes())
    fewer = "mean over 2 of 3 classes; in neither truth nor prediction: car"
    put_record(store, make_record("0110", 1, 30.0, signatures={**signatures, "miou": fewer}))
    put_record(store, make_record("0110", 2, 30.0, signatures={}))
    (note,) = [note for note in notes() if "mIoU" in note]
    assert note.endswith(f": mean over 3 of 3 classes / {fewer}")
    assert not any("BLEU" in note for note in notes())


def test_comparisons_of_different_code_are_noted(store, make_record, notes):
    put_record(store, make_record("0110", 1, 30.0, commit="4567def-dirty"))
    put_record(store, make_record("1000", 2, 31.0, versions={"torch": "2.15.0"}))
    commits, versions, dirty = notes()[-3:]
    assert commits.endswith("commits: 1111 − 0110")
    assert versions.endswith("torch (2.14.1 and 2.15.0): 1000 − 1111")
    assert dirty.endswith("1 run")


def test_runs_resumed_elsewhere_are_counted(store, make_record, notes):
    session = {"versions": {}, "device": "cpu", "threads": 4, "commit": None}
    put_record(store, make_record("0110", 1, 30.0, earlier=[session]))
    assert any(note.startswith("resumed ") and note.endswith("1 run") for note in notes())


def test_fields_of_a_newer_version_are_noted_and_the_rest_is_reported(store):
    for path in [*store.root.glob("runs/*/record.json"), store.root / "study.json"]:
        path.write_text(path.read_text().replace("{", '{"energy_joules": 12.5,', 1))
    table = load_report(store).table
    assert any("(energy_joules)" in note.text for note in table.notes)
    assert table.rows[0].metrics["bleu"].mean == pytest.approx(31.166667)


def test_notes_count_expectations_and_name_those_not_met(matrix_report):
    count, not_met = (note.text for note in matrix_report.table.notes[:2])
    assert count.startswith("1 of 2 ")
    assert "near, 0010: 40.00, expected ≤ 25" in not_met


def test_groups_with_the_same_cells_form_a_matrix(matrix_report):
    matrix = matrix_report.matrix
    assert (matrix.cells, matrix.groups) == (("0001", "0010"), ("near", "far"))
    assert matrix.rows["0010", "near"].expected.bounds == "≤ 25"


def test_other_studies_have_no_matrix(matrix_report, report):
    table = matrix_report.table
    assert report.matrix is None
    assert build_matrix(replace(table, rows=table.rows[:3])) is None
    assert build_matrix(replace(table, rows=table.rows[:2])) is None
