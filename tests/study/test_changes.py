from contextlib import nullcontext

import pytest

from quatrain.results import Failure, ResultStore, Session
from quatrain.specs import Spec, StudyError
from quatrain.study import Cell, Study, load_study, run_study
from quatrain.study.changes import notes_on, refuse_changed_code, runs_of_manifest
from quatrain.study.sessions import CHECKPOINT, SESSIONS, write_sessions

CELLS = "[cell('a'), cell('b', weight=2)]"


@pytest.fixture
def done(write_study, command, tmp_path):
    """A study file whose two cells and two seeds are done, and the store."""
    path, store = write_study(CELLS), ResultStore(tmp_path / "out")
    run_study(path, store.root, command=command)
    return path, store


def edit(path, old, new):
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def notes(path, store):
    study = load_study(path)
    return notes_on(study, store, study.select())


def refuse(path, store, cells=None):
    refuse_changed_code(store, load_study(path).select(cells))


def test_of_the_same_study_there_is_nothing_to_say(done):
    refuse(*done)
    assert notes(*done) == []


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("float(objective)", "float(objective) + 1"),
        ('"parameters": 1.0', '"parameters": 3.0'),
        ("weight: int = 1", "weight: int = 1\n    height: int = 1"),
    ],
)
def test_finished_runs_of_other_code_of_the_studys_specs_are_refused(done, old, new):
    path, store = done
    edit(path, old, new)
    sentence = (
        r"code of FakeSpec is .changed since 4 runs finished in .*\(one/a, one/b\).*restore"
        r" the code, raise the `revision`"
    )
    with pytest.raises(StudyError, match=sentence):
        refuse(path, store)
    refusal, files = notes(path, store)
    assert "`study run` will refuse these cells: code of FakeSpec changed since 4 runs" in refusal
    assert files == "a_study.py changed after 4 runs finished (one/a, one/b)"


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("seeds=(0, 1)", "seeds=(0, 1, 2)"),
        ('"""Counts to', '"""Counts up to'),
        ("    def open(", "    # Called by the worker.\n    def open("),
        (
            "def open(self, data, folder, seed)",
            "def open(self, data: object, folder, seed) -> Task",
        ),
        ("weight: int = 1", "weight: int = (1)"),
    ],
)
def test_other_seeds_and_comments_are_neither_refused_nor_noted(done, old, new):
    path, store = done
    edit(path, old, new)
    refuse(path, store)
    assert notes(path, store) == []


def test_code_that_no_spec_reaches_is_noted_and_not_refused(done):
    path, store = done
    edit(path, "study = ", "print('hello')\nstudy = ")
    refuse(path, store)
    assert notes(path, store) == ["a_study.py changed after 4 runs finished (one/a, one/b)"]


def test_a_new_revision_leaves_the_old_runs_alone(done):
    path, store = done
    edit(path, "    steps: int = 4", "    revision = 2\n    steps: int = 4")
    edit(path, "float(objective)", "float(objective) + 1")
    edit(path, "import SimpleNamespace", "import SimpleNamespace\nfrom typing import ClassVar")
    edit(path, "    revision = 2", "    revision: ClassVar[int] = 2")
    refuse(path, store)
    assert notes(path, store) == []


def test_cells_that_are_not_done_may_be_run_with_other_code(done):
    path, store = done
    edit(path, "cell('b', weight=2)", "cell('c', weight=3)")
    edit(path, "float(objective)", "float(objective) + 1")
    refuse(path, store, ["c"])


def test_records_from_before_code_was_noted_are_taken_as_they_are(done):
    path, store = done
    for record in store.all_records():
        store.write_record(record.model_copy(update={"code": None, "spec_code": None}))
    edit(path, "float(objective)", "float(objective) + 1")
    refuse(path, store)
    assert notes(path, store) == []


def test_a_damaged_record_is_left_to_its_reader(done):
    path, store = done
    next(iter(store.root.glob("runs/*/record.json"))).write_text("{")
    refuse(path, store)


def test_another_study_in_the_folder_is_named(done):
    path, store = done
    edit(path, "'A study'", "'Another study'")
    edit(path, CELLS, "[cell('c', weight=3)]")
    (note,) = notes(path, store)
    assert "another study, 'A study'" in note


@pytest.mark.parametrize("cells", [CELLS, "[cell('b', weight=2), cell('c', weight=3)]"])
def test_a_new_title_of_a_study_that_shares_runs_is_no_other_study(done, cells):
    path, store = done
    edit(path, "'A study'", "'A better title'")
    edit(path, CELLS, cells)
    (note,) = notes(path, store)
    assert "the title was 'A study'" in note
    assert "another" not in note


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("import SimpleNamespace", "import MappingProxyType, SimpleNamespace"),
        ("import Cell, Comparison, Study", "import Study, Comparison, Cell"),
        ("def cost(self, _objective)", "def cost(self, _objective: float) -> dict[str, float]"),
    ],
)
def test_edits_that_change_nothing_are_not_refused(done, old, new):
    path, store = done
    edit(path, old, new)
    refuse(path, store)


@pytest.fixture
def paused(write_study, tmp_path):
    """A study file of two cells, the first half trained, and the store."""
    path, store = write_study(CELLS, seeds="(0,)"), ResultStore(tmp_path / "out")
    run = load_study(path).select()[0]
    folder = store.folder(run.identity)
    folder.mkdir(parents=True)
    (folder / CHECKPOINT).write_text("[1, 1]")
    session = Session(
        versions={},
        device="cpu",
        threads=1,
        commit=None,
        code=run.code.code,
        spec_code=run.code.spec_code,
    )
    write_sessions(folder, [session])
    return path, store, run


def test_a_half_trained_run_goes_on_with_the_same_code(paused):
    path, store, _ = paused
    edit(path, "'A study'", "'A better title'")
    refuse(path, store)
    assert notes(path, store) == []


def test_a_half_trained_run_of_other_code_is_refused_before_training(paused):
    path, store, run = paused
    edit(path, "float(objective)", "float(objective) + 1")
    sentence = (
        r"code of FakeSpec is .changed since the training of 1 run began in .*\(one/a\).*"
        r"restore the code, raise the `revision` of FakeSpec .* delete .*checkpoint.safetensors"
    )
    with pytest.raises(StudyError, match=sentence):
        refuse(path, store)
    assert "`study run` will refuse these cells" in notes(path, store)[0]
    refuse(path, store, ["b"])
    (store.folder(run.identity) / CHECKPOINT).unlink()
    refuse(path, store)


def test_a_study_is_not_run_where_a_half_trained_run_is_of_other_code(paused, command):
    path, store, _ = paused
    edit(path, "float(objective)", "float(objective) + 1")
    with pytest.raises(StudyError, match="changed since the training of 1 run began"):
        run_study(path, store.root, command=command)
    assert store.all_records() == []


@pytest.mark.parametrize(("reason", "refused"), [("error", False), ("killed", True)])
def test_only_runs_that_would_resume_are_refused(paused, reason, refused):
    path, store, run = paused
    edit(path, "float(objective)", "float(objective) + 1")
    failure = Failure(reason=reason, message="no", traceback="", step=1)
    store.write_failure(run.identity, failure)
    with pytest.raises(StudyError) if refused else nullcontext():
        refuse(path, store)


def test_damaged_sessions_are_left_to_the_run(paused):
    path, store, run = paused
    edit(path, "float(objective)", "float(objective) + 1")
    (store.folder(run.identity) / SESSIONS).write_text("[{")
    refuse(path, store)


def test_names_that_have_changed_places_are_named(done):
    path, store = done
    edit(path, "[cell('a'), cell('b', weight=2)]", "[cell('b'), cell('a', weight=2)]")
    (note,) = notes(path, store)
    assert "names stand for other cells than when the study was last run (one/a, one/b)" in note


@pytest.mark.parametrize("cells", ["[cell('c'), cell('b', weight=2)]", "[cell('a', weight=9)]"])
def test_a_cell_that_is_renamed_or_edited_changes_no_places(done, cells):
    path, store = done
    edit(path, "[cell('a'), cell('b', weight=2)]", cells)
    assert notes(path, store) == []


def test_seeds_of_the_manifest_beyond_the_study_are_found_by_cell(done):
    path, store = done
    study = load_study(path)
    store.write_manifest(study.manifest([study.run(study.cells[1], 7)]))
    assert [run.label for run in runs_of_manifest(study, store)] == ["one/b seed 7"]


class Sentences(Spec):
    size: int = 1


class Learning(Spec):
    data: Sentences = Sentences()
    steps: int = 4

    def open(self, data, folder, seed):
        raise NotImplementedError


def test_groups_whose_cells_differ_in_their_data_are_named_before_they_are_run(tmp_path):
    cells = [
        Cell(name=f"{size} {steps}", group=group, spec=Learning(data=data, steps=steps))
        for group, sizes in (("one", (1,)), ("two", (1, 2)))
        for size in sizes
        for steps in (4, 5)
        for data in [Sentences(size=size)]
    ]
    study = Study(title="t", question="q", cells=cells, seeds=(0,), metric="m")
    assert notes_on(study, ResultStore(tmp_path), study.select()) == [
        "cells of group two differ in their data: they are compared if they are tested on the same "
        "(1 4, 2 4)"
    ]
