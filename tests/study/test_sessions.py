import os
from dataclasses import replace

import pytest

from quatrain.results import ResultStore, Session
from quatrain.specs import StoredFileError, StudyError
from quatrain.study import load_study
from quatrain.study.code import RunCode
from quatrain.study.sessions import (
    CHECKPOINT,
    SESSIONS,
    has_other_code,
    read_sessions,
    refuse_half_trained,
    write_sessions,
)
from quatrain.training import checkpoint

HERE = Session(versions={}, device="cpu", threads=1, commit=None, code={}, spec_code="a" * 64)


def test_the_checkpoint_is_the_one_of_the_training():
    assert checkpoint.NAME == CHECKPOINT


def test_sessions_are_those_of_the_checkpoint(tmp_path):
    write_sessions(tmp_path, [HERE])
    assert read_sessions(tmp_path) == ()
    (tmp_path / CHECKPOINT).touch()
    assert read_sessions(tmp_path) == (HERE,)
    (tmp_path / SESSIONS).unlink()
    assert read_sessions(tmp_path) is None


def test_the_file_of_an_older_version_is_read_and_replaced(tmp_path):
    (tmp_path / CHECKPOINT).write_bytes(b"")
    write_sessions(tmp_path, [HERE])
    (tmp_path / SESSIONS).rename(tmp_path / "sittings.json")
    assert read_sessions(tmp_path) == (HERE,)
    write_sessions(tmp_path, [HERE, HERE])
    assert [each.name for each in tmp_path.glob("s*.json")] == [SESSIONS]


@pytest.mark.parametrize("content", ["[{", "{}", "[3]", '[{"threads": "many"}]'])
def test_damaged_sessions_are_an_error_that_names_the_file(tmp_path, content):
    (tmp_path / CHECKPOINT).touch()
    (tmp_path / SESSIONS).write_text(content)
    with pytest.raises(StoredFileError, match=r"sessions.json.*delete this file"):
        read_sessions(tmp_path)


def test_a_pipe_in_the_place_of_the_sessions_is_not_waited_for(tmp_path):
    (tmp_path / CHECKPOINT).touch()
    os.mkfifo(tmp_path / SESSIONS)
    with pytest.raises(StoredFileError, match="no regular file"):
        read_sessions(tmp_path)


def test_a_long_file_in_the_place_of_the_sessions_is_not_read(tmp_path):
    (tmp_path / CHECKPOINT).touch()
    with (tmp_path / SESSIONS).open("wb") as file:
        file.truncate(2**26)
    with pytest.raises(StoredFileError, match="at most 32 MiB"):
        read_sessions(tmp_path)


@pytest.fixture
def run(write_study):
    run = load_study(write_study("[cell('a')]", seeds="(3,)")).select()[0]
    return replace(run, code=RunCode({}, "b" * 64))


@pytest.mark.parametrize(
    ("then", "differs"),
    [
        (HERE, True),
        (HERE.model_copy(update={"spec_code": "b" * 64}), False),
        (HERE.model_copy(update={"spec_code": None}), True),
        (HERE.model_copy(update={"spec_code": None, "code": None}), False),
    ],
)
def test_code_is_compared_where_it_is_known(run, tmp_path, then, differs):
    store = ResultStore(tmp_path)
    folder = store.folder(run.identity)
    folder.mkdir(parents=True)
    (folder / CHECKPOINT).touch()
    write_sessions(folder, [then, HERE.model_copy(update={"spec_code": "b" * 64})])
    assert has_other_code(run, then) is differs
    if differs:
        with pytest.raises(StudyError, match=f"delete {folder / CHECKPOINT} to begin again"):
            refuse_half_trained([run], store)
    else:
        refuse_half_trained([run], store)
