import pytest

from quatrain.report.runs import load_runs
from quatrain.results import RunState
from quatrain.specs import StoredFileError, StudyError


def test_a_run_shown_in_two_groups_is_loaded_once(store):
    study = load_runs(store)
    assert len(study.runs) == 5 * 3
    assert len(study.all_records()) == 4 * 3
    both = [cell for cell in study.manifest.cells if cell.name == "1111"]
    assert [cell.group for cell in both] == ["self", "cross"]
    assert study.records(both[0]) == study.records(both[1])


def test_finished_runs_of_no_cell_are_counted_and_left_out(store):
    manifest = store.manifest()
    cells = tuple(cell for cell in manifest.cells if cell.name != "0010")
    store.write_manifest(manifest.model_copy(update={"cells": cells, "comparisons": ()}))
    study = load_runs(store)
    assert (study.strangers, len(study.all_records())) == (3, 3 * 3)


def test_a_run_that_failed_brings_its_reason(store):
    study = load_runs(store)
    failed = [run for run in study.runs.values() if run.state is RunState.FAILED]
    assert [run.failure.step for run in failed] == [17]


@pytest.mark.parametrize("data", [{"train.de": "b" * 64}, {}, {"train.de": "a" * 64, "x": "c"}])
def test_runs_on_other_data_are_not_averaged_and_the_file_is_named(store, make_record, data):
    store.write_record(make_record("0110", 1, 30.0, data=data))
    with pytest.raises(StudyError, match=r"data file (train\.de|x) .* in 0110 seed 1"):
        load_runs(store)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"seed": 2}, r'is "seed = 2", expected 1'),
        ({"spec_name": "ProbeSpec"}, r'is "spec_name = ProbeSpec", expected TranslationSpec'),
        ({"spec": {}}, r'is "spec = empty", expected fields of TranslationSpec'),
    ],
    ids=["seed", "name", "empty"],
)
def test_a_record_that_was_edited_to_be_of_another_run_is_refused(
    store, make_record, changes, sentence
):
    store.write_record(make_record("0110", 1, 30.0).model_copy(update=changes))
    with pytest.raises(StoredFileError, match=rf"record\.json {sentence}"):
        load_runs(store)


def test_a_damaged_record_stops_the_report(store):
    path = next(iter(store.root.glob("runs/*/record.json")))
    path.write_text("{")
    with pytest.raises(StoredFileError, match="cut off or not JSON"):
        load_runs(store)
