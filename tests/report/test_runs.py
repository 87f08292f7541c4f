import re

import pytest

from fake.results import put_record
from quatrain.report.build import load_report
from quatrain.report.notes import Note
from quatrain.report.runs import drop_unstarted_groups, load_runs
from quatrain.results import Comparison, ResultStore, RunState
from quatrain.specs import StoredFileError, StudyError


def test_run_of_two_groups_is_loaded_once(report):
    study = report.study
    assert len(study.runs) == 5 * 3
    assert len(study.all_records()) == 4 * 3
    both = [cell for cell in study.manifest.cells if cell.name == "1111"]
    assert [cell.group for cell in both] == ["self", "cross"]
    assert study.records(both[0]) == study.records(both[1])


def test_orphaned_runs_are_counted_and_excluded(store):
    manifest = store.manifest()
    cells = tuple(cell for cell in manifest.cells if cell.name != "0010")
    store.write_manifest(manifest.model_copy(update={"cells": cells, "comparisons": ()}))
    study = load_runs(store)
    assert (study.orphaned_runs, len(study.all_records())) == (3, 3 * 3)


def test_failed_run_has_its_failure(report):
    failed = [run for run in report.study.runs.values() if run.state is RunState.FAILED]
    assert [run.failure.step for run in failed] == [17]


@pytest.mark.parametrize("data", [{"train.de": "b" * 64}, {}, {"train.de": "a" * 64, "x": "c"}])
def test_runs_on_other_data_are_rejected(store, make_record, data):
    put_record(store, make_record("0110", 1, 30.0, data=data))
    with pytest.raises(StudyError) as info:
        load_runs(store)
    assert info.value.field in {"data file train.de", "data file x"}
    assert "in 0110 seed 1" in str(info.value)


def pairs(number):
    """A spec of data and the hashes of a run on it."""
    return {
        "spec": {"data": {"pairs": number}},
        "data": {"train": f"{number:064}"},
        "test_data": {"test": "c" * 64},
    }


@pytest.fixture
def grown(store, make_record):
    """Cells 1111 and 0110 trained on different numbers of pairs and tested on the same data."""
    for cell, number in (("1111", 100), ("0110", 200)):
        for seed in range(3):
            put_record(store, make_record(cell, seed, 30.0 + seed, **pairs(number)))
    manifest = store.manifest()
    cells = [cell for cell in manifest.cells if cell.name in {"1111", "0110"}]
    cells = tuple(cell for cell in cells if cell.group == "self")
    comparisons = manifest.comparisons[:1]
    store.write_manifest(manifest.model_copy(update={"cells": cells, "comparisons": comparisons}))
    return store


def test_cells_trained_on_different_data_are_compared_with_a_note(grown):
    assert load_runs(grown).notes == (
        Note("Data", "cells of group self were trained on different data"),
    )


@pytest.mark.parametrize(
    ("changes", "field", "other"),
    [
        ({"test_data": {"test": "d" * 64}}, "test data test", "1111 seed 0"),
        ({"test_data": {"other": "c" * 64}}, "test data other", "1111 seed 0"),
        ({"test_data": None}, "data file train", "1111 seed 0"),
        ({"data": {"train": "e" * 64}}, "data file train", "0110 seed 0"),
        ({"spec": {"data": {"pairs": 100}}}, "data file train", "1111 seed 0"),
    ],
)
def test_other_test_data_and_files_that_changed_under_one_spec_are_rejected(
    grown, make_record, changes, field, other
):
    put_record(grown, make_record("0110", 1, 31.0, **{**pairs(200), **changes}))
    with pytest.raises(StudyError) as info:
        load_runs(grown)
    assert info.value.field == field
    assert re.search(f"in 0110 seed 1, but .* in {other}", str(info.value))


def test_specs_without_data_are_compared_as_a_whole(grown, make_record):
    for cell, size in (("1111", 1), ("0110", 2)):
        for seed in range(3):
            changes = {**pairs(size), "spec": {"size": size}}
            put_record(grown, make_record(cell, seed, 30.0 + seed, **changes))
    assert load_runs(grown).notes == (
        Note("Data", "cells of group self were trained on different data"),
    )


def test_runs_of_older_study_code_are_noted(store, make_record):
    manifest = store.manifest()
    store.write_manifest(manifest.model_copy(update={"code": {"s.py": "a" * 64}}))
    put_record(store, make_record("0110", 1, 30.0, code={"s.py": "a" * 64}))
    assert load_runs(store).notes == ()
    put_record(store, make_record("0110", 1, 30.0, code={"s.py": "b" * 64, "net.py": "c" * 64}))
    assert load_runs(store).notes == (
        Note("Code and versions", "net.py, s.py changed after 1 run finished (self/0110)"),
    )


def test_notes_on_code_are_in_the_table(store, make_record):
    manifest = store.manifest()
    store.write_manifest(manifest.model_copy(update={"code": {"s.py": "a" * 64}}))
    put_record(store, make_record("0110", 1, 30.0, code={"s.py": "b" * 64}))
    texts = [note.text for note in load_report(store).table.notes]
    assert "s.py changed after 1 run finished (self/0110)" in texts


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"seed": 2}, "seed is 2, not 1"),
        ({"spec_name": "ProbeSpec"}, "spec_name is ProbeSpec, not TranslationSpec"),
        ({"spec": {}}, "spec is empty"),
    ],
    ids=["seed", "name", "empty"],
)
def test_record_edited_to_be_of_another_run_is_rejected(store, make_record, changes, problem):
    put_record(store, make_record("0110", 1, 30.0).model_copy(update=changes))
    with pytest.raises(StoredFileError) as info:
        load_runs(store)
    assert info.value.field.endswith("record.json")
    assert problem in str(info.value)


def test_damaged_record_is_rejected(store):
    path = next(iter(store.root.glob("runs/*/record.json")))
    path.write_text("{")
    with pytest.raises(StoredFileError) as info:
        load_runs(store)
    assert info.value.field == str(path)


def larger(store):
    """Add a group that shares cell 1111 and has one unshared cell."""
    manifest = store.manifest()
    shared = next(cell for cell in manifest.cells if cell.name == "1111")
    names = {seed: str(seed) * 64 for seed in range(3)}
    cells = [shared, shared.model_copy(update={"name": "0000", "identities": names})]
    whole = tuple(cell.model_copy(update={"group": "whole"}) for cell in cells)
    comparison = Comparison(group="whole", left="1111", right="0000")
    store.write_manifest(
        manifest.model_copy(
            update={
                "cells": (*manifest.cells, *whole),
                "comparisons": (*manifest.comparisons, comparison),
            }
        )
    )
    return names


def test_group_of_which_no_own_run_was_started_is_only_noted(store):
    before = load_runs(store)
    larger(store)
    study = drop_unstarted_groups(load_runs(store))
    assert study.manifest == before.manifest
    assert study.notes == (
        Note("Unfinished runs", "groups not started, not shown: whole (2 cells)"),
        *before.notes,
    )


def test_group_is_shown_once_an_own_run_was_started(store, make_record):
    names = larger(store)
    put_record(store, make_record("0000", 1, 20.0, identity=names[1]))
    study = drop_unstarted_groups(load_runs(store))
    assert [cell.name for cell in study.manifest.cells if cell.group == "whole"] == ["1111", "0000"]
    assert study.notes == ()


def test_groups_are_shown_if_none_was_started(store):
    manifest = store.manifest()
    empty = ResultStore(store.root / "elsewhere")
    empty.write_manifest(manifest)
    assert drop_unstarted_groups(load_runs(empty)).manifest == manifest
