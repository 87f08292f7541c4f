import pytest

from quatrain.report.runs import load_runs
from quatrain.report.tables import build_table
from quatrain.results import Measurement, summarize
from quatrain.specs import StudyError


def rows_of(store):
    return {(row.group, row.cell): row for row in build_table(load_runs(store)).rows}


def test_a_cell_is_its_mean_over_seeds_with_cost_and_time(store):
    row = rows_of(store)["self", "1111"]
    assert row.metrics["bleu"] == summarize([31.0, 31.4, 31.1])
    assert (row.multiply_adds, row.parameters, row.seconds) == (8e8, 1.2e6, 91.0)
    assert (row.latency, row.peak_bytes) == (0.012, 10**8)
    assert (row.seeds_done, row.seeds_planned, row.state) == (3, 3, "done")


def test_a_cell_in_two_groups_is_a_row_in_both(store):
    rows = rows_of(store)
    assert rows["self", "1111"].metrics == rows["cross", "1111"].metrics


def test_a_cell_without_runs_says_what_is_missing(store):
    row = rows_of(store)["self", "w/o"]
    assert (row.metrics, row.multiply_adds, row.seconds) == ({}, None, None)
    assert row.state == "1 failed, 2 absent"
    assert build_table(load_runs(store)).notes == ("self, w/o: of 3 runs, 1 failed, 2 absent",)


def test_the_primary_metric_comes_first(store):
    assert build_table(load_runs(store)).metric_names == ("bleu", "chrf")


def test_a_metric_that_no_record_has_is_a_clear_error(store, make_record):
    store.write_record(make_record("0110", 1, 30.0, metrics={"chrf": 1.0}))
    with pytest.raises(StudyError, match=r'metric is "bleu", expected .* \(chrf\)'):
        build_table(load_runs(store))


def test_times_from_unlike_machines_are_noted(store, make_record):
    store.write_record(make_record("0110", 1, 30.0, device="cuda"))
    fields = store.measurement(make_record("1111", 0, 1.0).identity).model_dump()
    identity = make_record("1111", 1, 1.0).identity
    store.write_measurement(identity, Measurement(**{**fields, "threads": 8}))
    notes = build_table(load_runs(store)).notes
    assert (
        "training times were measured on different machines: cpu, 1 threads; cuda, 1 threads"
        in notes
    )
    assert "latencies were measured on different machines: cpu, 1 threads; cpu, 8 threads" in notes


def test_what_of_the_data_was_left_out_is_noted_once(store, make_record):
    for seed in (1, 2):
        store.write_record(make_record("0110", seed, 30.0, data_notes={"train: blank": 1200}))
    notes = build_table(load_runs(store)).notes
    assert notes.count("data, train: blank: 1,200") == 1


def test_finished_runs_whose_cell_is_gone_are_noted(store, make_record):
    store.write_record(make_record("0100", 0, 30.0))
    note = "excluded: 1 finished run of cells that are no longer in the study"
    assert note in build_table(load_runs(store)).notes


def test_what_of_the_data_nobody_took_note_of_is_not_nothing(store, make_record):
    store.write_record(make_record("0110", 1, 30.0, data_notes=None))
    notes = build_table(load_runs(store)).notes
    assert "data: warnings were not recorded in 1 run" in notes


def test_a_metric_that_was_not_computed_alike_is_noted_with_its_signatures(store, make_record):
    def noted():
        return [
            note for note in build_table(load_runs(store)).notes if "computed differently" in note
        ]

    assert noted() == []
    signatures = {"bleu": "nrefs:1|case:mixed", "miou": "mean over 3 of 3 classes"}
    store.write_record(make_record("0110", 0, 30.0, signatures=signatures))
    assert noted() == []
    fewer = "mean over 2 of 3 classes; in neither truth nor prediction: car"
    store.write_record(make_record("0110", 1, 30.0, signatures={**signatures, "miou": fewer}))
    store.write_record(make_record("0110", 2, 30.0, signatures={}))
    assert noted() == [
        f"mIoU was computed differently between runs: mean over 3 of 3 classes / {fewer}"
    ]


def test_sides_of_unlike_code_are_noted(store, make_record):
    store.write_record(make_record("0110", 1, 30.0, commit="4567def-dirty"))
    store.write_record(make_record("1000", 2, 31.0, versions={"torch": "2.15.0"}))
    assert build_table(load_runs(store)).notes[-3:] == (
        "compared cells ran different commits: 1111 − 0110",
        "compared cells ran different versions of torch (2.14.1 and 2.15.0): 1000 − 1111",
        "uncommitted code changes in 1 run",
    )


def test_runs_that_were_resumed_elsewhere_are_counted(store, make_record):
    session = {"versions": {}, "device": "cpu", "threads": 4, "commit": None}
    store.write_record(make_record("0110", 1, 30.0, earlier=[session]))
    note = "resumed with different code or on another machine: 1 run"
    assert note in build_table(load_runs(store)).notes


def test_fields_that_a_newer_version_wrote_are_noted_and_the_rest_is_reported(store):
    for path in [*store.root.glob("runs/*/record.json"), store.root / "study.json"]:
        path.write_text(path.read_text().replace("{", '{"energy_joules": 12.5,', 1))
    table = build_table(load_runs(store))
    assert "ignored: fields written by a newer quatrain (energy_joules)" in table.notes
    assert rows_of(store)["self", "1111"].metrics["bleu"] == summarize([31.0, 31.4, 31.1])
