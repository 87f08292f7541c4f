from contextlib import nullcontext
from dataclasses import replace

import pytest

from quatrain.results import CHECKPOINT, Failure, ResultStore, Session
from quatrain.specs import Spec, StudyError
from quatrain.study import Cell, Study, load_study, run_study
from quatrain.study.changes import check_session_code, check_stored_code, notes_on
from quatrain.study.sessions import SESSIONS, write_sessions

CELLS = "[cell('a'), cell('b', weight=2)]"


@pytest.fixture
def done(write_study, finish):
    """A study file whose two cells and two seeds are done, and the store."""
    path = write_study(CELLS)
    return path, finish(path)


def edit(path, old, new):
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def notes(path, store):
    study = load_study(path)
    return notes_on(study, store, study.select())


def refuse(path, store, cells=None):
    check_stored_code(store, load_study(path).select(cells))


def test_an_unchanged_study_has_no_notes(done):
    refuse(*done)
    assert notes(*done) == []


def test_finished_runs_of_other_code_of_the_studys_specs_are_refused(done):
    path, store = done
    edit(path, "float(objective)", "float(objective) + 1")
    with pytest.raises(StudyError) as info:
        refuse(path, store)
    assert info.value.field == "FakeSpec"
    assert "4 runs finished" in str(info.value)
    assert "(one/a, one/b)" in str(info.value)
    assert "raise the `revision` of FakeSpec" in str(info.value)
    refusal, files = notes(path, store)
    assert f"refuse these cells: {info.value}" in refusal
    assert files == "a_study.py changed after 4 runs finished (one/a, one/b)"


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("seeds=(0, 1)", "seeds=(0, 1, 2)"),
        ('"""Counts to', '"""Counts up to'),
        ("    def open(", "    # Called by the worker.\n    def open("),
        ("weight: int = 1", "weight: int = (1)"),
    ],
)
def test_seeds_comments_docstrings_and_layout_are_neither_refused_nor_noted(done, old, new):
    path, store = done
    edit(path, old, new)
    refuse(path, store)
    assert notes(path, store) == []


def test_new_cells_and_new_imports_for_them_are_not_refused(done):
    path, store = done
    edit(path, CELLS, "MORE")
    edit(path, "study = ", f"MORE = {CELLS} + [cell('c', weight=3)]\nstudy = ")
    edit(path, "import SimpleNamespace", "import MappingProxyType, SimpleNamespace")
    refuse(path, store)
    assert notes(path, store) == ["a_study.py changed after 4 runs finished (one/a, one/b)"]


def test_a_new_revision_leaves_the_old_runs_alone(done):
    path, store = done
    edit(path, "    steps: int = 4", "    revision: ClassVar[int] = 2\n    steps: int = 4")
    edit(path, "float(objective)", "float(objective) + 1")
    edit(path, "import SimpleNamespace", "import SimpleNamespace\nfrom typing import ClassVar")
    refuse(path, store)
    (note,) = notes(path, store)
    assert "4 runs finished with other hyper-parameters or other code" in note
    assert "(one/a, one/b)" in note


def test_cells_that_are_not_done_may_be_run_with_other_code(done):
    path, store = done
    edit(path, "cell('b', weight=2)", "cell('c', weight=3)")
    edit(path, "float(objective)", "float(objective) + 1")
    refuse(path, store, ["c"])


OLD_RULE = {"code": {"a_study.py": "a" * 64}, "spec_code": "b" * 64}
BEFORE_HASHES = {"code": None, "spec_code": None}


@pytest.mark.parametrize("stored", [OLD_RULE, BEFORE_HASHES])
def test_records_with_hashes_of_another_rule_or_none_are_neither_refused_nor_noted(done, stored):
    path, store = done
    for record in store.all_records():
        (store.folder(record.identity) / "record.json").unlink()
        store.write_record(record.model_copy(update=stored))
    edit(path, "float(objective)", "float(objective) + 1")
    refuse(path, store)
    assert notes(path, store) == []


def test_a_damaged_record_is_reported_by_its_reader(done):
    path, store = done
    next(iter(store.root.glob("runs/*/record.json"))).write_text("{")
    refuse(path, store)


def test_another_study_in_the_folder_is_noted(done):
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


def test_cells_that_exchange_their_names_are_noted(done):
    path, store = done
    edit(path, CELLS, "[cell('b'), cell('a', weight=2)]")
    (note,) = notes(path, store)
    assert "(one/a, one/b)" in note


def test_a_cell_that_is_renamed_is_not_noted(done):
    path, store = done
    edit(path, CELLS, "[cell('c'), cell('b', weight=2)]")
    assert notes(path, store) == []


def test_a_cell_that_is_edited_is_noted(done):
    path, store = done
    edit(path, CELLS, "[cell('a', weight=9)]")
    (note,) = notes(path, store)
    assert note.startswith("2 runs finished with other hyper-parameters")
    assert "(one/a)" in note


@pytest.fixture
def paused(write_study, tmp_path):
    """A study file of two cells, its store, and the half-trained run of the first cell."""
    path, store = write_study(CELLS, seeds="(0,)"), ResultStore(tmp_path / "out")
    run = load_study(path).select()[0]
    folder = store.folder(run.identity)
    folder.mkdir(parents=True)
    (folder / CHECKPOINT).write_text("[1, 1]")
    code = {"code": run.code, "spec_code": run.spec_code}
    write_sessions(folder, [Session(versions={}, device="cpu", threads=1, commit=None, **code)])
    return path, store, run


def test_a_half_trained_run_resumes_with_the_same_code(paused):
    path, store, _ = paused
    edit(path, "'A study'", "'A better title'")
    refuse(path, store)
    assert notes(path, store) == []


def test_a_half_trained_run_of_other_code_is_refused_before_training(paused, command):
    path, store, run = paused
    edit(path, "float(objective)", "float(objective) + 1")
    with pytest.raises(StudyError) as info:
        run_study(path, store.root, command=command)
    assert "the training of 1 run began" in str(info.value)
    assert f"delete {store.folder(run.identity) / CHECKPOINT}" in str(info.value)
    assert store.all_records() == []
    assert "`study run` will refuse these cells" in notes(path, store)[0]
    refuse(path, store, ["b"])
    (store.folder(run.identity) / CHECKPOINT).unlink()
    refuse(path, store)


@pytest.mark.parametrize(("reason", "refused"), [("error", False), ("killed", True)])
def test_only_runs_that_would_resume_are_refused(paused, reason, refused):
    path, store, run = paused
    edit(path, "float(objective)", "float(objective) + 1")
    failure = Failure(reason=reason, message="no", traceback="", step=1)
    store.write_failure(run.identity, failure)
    with pytest.raises(StudyError) if refused else nullcontext():
        refuse(path, store)


@pytest.mark.parametrize(
    ("code", "spec_code", "refused"),
    [
        ({"a.py": "2:1"}, "2:1", True),
        ({"a.py": "2:1"}, "2:2", False),
        ({"a.py": "2:1"}, None, True),
        ({"a.py": "1"}, "1", False),
        (None, None, False),
    ],
)
def test_the_code_of_sessions_is_compared_if_it_is_known(paused, code, spec_code, refused):
    _, store, run = paused
    run = replace(run, code={"a.py": "2:2"}, spec_code="2:2")
    here = {"versions": {}, "device": "cpu", "threads": 1, "commit": None}
    session = Session(**here, code=code, spec_code=spec_code)
    write_sessions(store.folder(run.identity), [session])
    with pytest.raises(StudyError) if refused else nullcontext():
        check_session_code([run], store)


def test_damaged_sessions_are_reported_by_the_run(paused):
    path, store, run = paused
    edit(path, "float(objective)", "float(objective) + 1")
    (store.folder(run.identity) / SESSIONS).write_text("[{")
    refuse(path, store)


class DataSpec(Spec):
    size: int = 1


class OwnSpec(Spec):
    data: DataSpec = DataSpec()
    steps: int = 4

    def open(self, data, folder, seed):
        raise NotImplementedError


def test_groups_whose_cells_differ_in_their_data_are_noted(tmp_path):
    cells = [
        Cell(
            name=f"{size} {steps}", group=group, spec=OwnSpec(data=DataSpec(size=size), steps=steps)
        )
        for group, sizes in (("one", (1,)), ("two", (1, 2)))
        for size in sizes
        for steps in (4, 5)
    ]
    study = Study(title="t", question="q", cells=cells, seeds=(0,), metric="m")
    (note,) = notes_on(study, ResultStore(tmp_path), study.select())
    assert "group two differ in their data" in note
    assert note.endswith("(1 4, 2 4)")
