import pytest

from quatrain.report.runs import drop_unstarted_groups, load_runs
from quatrain.report.tables import build_table
from quatrain.results import ManifestComparison, ResultStore, RunState
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
    assert (study.orphaned_runs, len(study.all_records())) == (3, 3 * 3)


def test_a_run_that_failed_brings_its_reason(store):
    study = load_runs(store)
    failed = [run for run in study.runs.values() if run.state is RunState.FAILED]
    assert [run.failure.step for run in failed] == [17]


@pytest.mark.parametrize("data", [{"train.de": "b" * 64}, {}, {"train.de": "a" * 64, "x": "c"}])
def test_runs_on_other_data_are_not_averaged_and_the_file_is_named(store, make_record, data):
    store.write_record(make_record("0110", 1, 30.0, data=data))
    with pytest.raises(StudyError, match=r"data file (train\.de|x) .* in 0110 seed 1"):
        load_runs(store)


def pairs(number):
    """What a spec says of its data, and the hashes of a run of it."""
    return {
        "spec": {"data": {"pairs": number}},
        "data": {"train": f"{number:064}"},
        "test_data": {"test": "c" * 64},
    }


@pytest.fixture
def grown(store, make_record):
    """Cells 1111 and 0110 of group self by how much they are trained on, tested on the same."""
    for cell, number in (("1111", 100), ("0110", 200)):
        for seed in range(3):
            store.write_record(make_record(cell, seed, 30.0 + seed, **pairs(number)))
    manifest = store.manifest()
    cells = [cell for cell in manifest.cells if cell.name in {"1111", "0110"}]
    cells = tuple(cell for cell in cells if cell.group == "self")
    comparisons = manifest.comparisons[:1]
    store.write_manifest(manifest.model_copy(update={"cells": cells, "comparisons": comparisons}))
    return store


def test_cells_trained_on_other_data_and_tested_on_the_same_are_compared_with_a_note(grown):
    assert load_runs(grown).notes == ("cells of group self were trained on different data",)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"test_data": {"test": "d" * 64}}, "test data test is .* in 0110 seed 1"),
        ({"test_data": {"other": "c" * 64}}, "test data (test|other)"),
        ({"test_data": None}, "data file train is .* in 0110 seed 1"),
        ({"data": {"train": "e" * 64}}, "data file train is .* in 0110 seed 1.*in 0110 seed 0"),
        ({"spec": {"data": {"pairs": 100}}}, "data file train is .* in 0110 seed 1"),
    ],
)
def test_other_test_data_or_files_that_changed_under_one_spec_are_refused(
    grown, make_record, changes, sentence
):
    grown.write_record(make_record("0110", 1, 31.0, **{**pairs(200), **changes}))
    with pytest.raises(StudyError, match=sentence):
        load_runs(grown)


def test_specs_that_do_not_say_their_data_are_told_apart_whole(grown, make_record):
    for cell, size in (("1111", 1), ("0110", 2)):
        for seed in range(3):
            changes = {**pairs(size), "spec": {"size": size}}
            grown.write_record(make_record(cell, seed, 30.0 + seed, **changes))
    assert load_runs(grown).notes == ("cells of group self were trained on different data",)


def test_runs_of_other_code_than_the_study_had_last_are_named(store, make_record):
    manifest = store.manifest()
    store.write_manifest(manifest.model_copy(update={"code": {"s.py": "a" * 64}}))
    store.write_record(make_record("0110", 1, 30.0, code={"s.py": "a" * 64}))
    assert load_runs(store).notes == ()
    store.write_record(make_record("0110", 1, 30.0, code={"s.py": "b" * 64, "net.py": "c" * 64}))
    assert load_runs(store).notes == ("net.py, s.py changed after 1 run finished (self/0110)",)


def test_the_notes_are_in_the_report(store, make_record):
    manifest = store.manifest()
    store.write_manifest(manifest.model_copy(update={"code": {"s.py": "a" * 64}}))
    store.write_record(make_record("0110", 1, 30.0, code={"s.py": "b" * 64}))
    assert "s.py changed after 1 run finished (self/0110)" in build_table(load_runs(store)).notes


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


def larger(store):
    """The study with a group that shares its cell 1111 and has a cell of its own."""
    manifest = store.manifest()
    shared = next(cell for cell in manifest.cells if cell.name == "1111")
    names = {seed: str(seed) * 64 for seed in range(3)}
    cells = [shared, shared.model_copy(update={"name": "0000", "identities": names})]
    whole = tuple(cell.model_copy(update={"group": "whole"}) for cell in cells)
    comparison = ManifestComparison(group="whole", left="1111", right="0000")
    store.write_manifest(
        manifest.model_copy(
            update={
                "cells": (*manifest.cells, *whole),
                "comparisons": (*manifest.comparisons, comparison),
            }
        )
    )
    return names


def test_a_group_that_has_only_what_others_share_is_not_shown_and_named(store):
    before = load_runs(store)
    larger(store)
    study = drop_unstarted_groups(load_runs(store))
    assert study.manifest == before.manifest
    assert study.notes == ("groups not started, not shown: whole (2 cells)", *before.notes)


def test_a_group_is_shown_once_a_run_of_its_own_is_there(store, make_record):
    names = larger(store)
    store.write_record(make_record("0000", 1, 20.0, identity=names[1]))
    study = drop_unstarted_groups(load_runs(store))
    assert [cell.name for cell in study.manifest.cells if cell.group == "whole"] == ["1111", "0000"]
    assert study.notes == ()


def test_groups_are_shown_where_none_was_begun(store):
    manifest = store.manifest()
    empty = ResultStore(store.root / "elsewhere")
    empty.write_manifest(manifest)
    assert drop_unstarted_groups(load_runs(empty)).manifest == manifest
