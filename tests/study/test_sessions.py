import os

import pytest

from quatrain.results import CHECKPOINT, Failure, ResultStore, Session
from quatrain.results.files import SESSIONS
from quatrain.specs import StoredFileError
from quatrain.study import load_study
from quatrain.study.sessions import (
    earlier_failure,
    read_sessions,
    write_sessions,
)

HERE = Session(versions={}, device="cpu", threads=1, commit=None, code={}, spec_code="a" * 64)


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
    with pytest.raises(StoredFileError) as info:
        read_sessions(tmp_path)
    assert info.value.field == str(tmp_path / SESSIONS)


def test_a_pipe_instead_of_the_sessions_is_an_error(tmp_path):
    (tmp_path / CHECKPOINT).touch()
    os.mkfifo(tmp_path / SESSIONS)
    with pytest.raises(StoredFileError):
        read_sessions(tmp_path)


@pytest.mark.parametrize(("reason", "resumes"), [("killed", True), ("error", False)])
def test_a_killed_run_resumes_and_a_failed_one_stays_failed(write_study, tmp_path, reason, resumes):
    run, store = load_study(write_study("[cell('a')]")).select()[0], ResultStore(tmp_path / "out")
    assert earlier_failure(run, store) is None
    store.write_failure(run.identity, Failure(reason=reason, message="no", traceback="", step=3))
    event = earlier_failure(run, store)
    assert (event is None) == resumes
    if event is not None:
        assert (event.kind, event.step) == ("failed", 3)
