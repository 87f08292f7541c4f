import pytest

from quatrain.results import CHECKPOINT, Failure
from quatrain.specs import StudyError
from quatrain.study import load_study
from quatrain.study.engines.restarts import MOST_RESTARTS, RestartLimit


@pytest.fixture
def runs(write_study):
    return load_study(write_study("[cell('a'), cell('b', weight=2)]")).select()


def checkpoint(store, run, content):
    folder = store.files(run.identity)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / CHECKPOINT).write_bytes(content)


def test_a_session_without_progress_ends_a_worker_of_many_restarts(store, runs, monkeypatch):
    monkeypatch.setenv("SLURM_RESTART_COUNT", str(MOST_RESTARTS))
    checkpoint(store, runs[0], b"step 3")
    limit = RestartLimit(store, runs)
    checkpoint(store, runs[0], b"step 3")
    with pytest.raises(StudyError) as error:
        limit.check()
    assert error.value.field == "SLURM_RESTART_COUNT"


def test_a_new_checkpoint_is_progress(store, runs, monkeypatch):
    monkeypatch.setenv("SLURM_RESTART_COUNT", "999")
    limit = RestartLimit(store, runs)
    checkpoint(store, runs[1], b"step 3")
    limit.check()
    limit = RestartLimit(store, runs)
    checkpoint(store, runs[1], b"step 4")
    limit.check()


def test_the_end_of_a_run_is_progress(store, runs, monkeypatch):
    monkeypatch.setenv("SLURM_RESTART_COUNT", "999")
    limit = RestartLimit(store, runs)
    failure = Failure(reason="error", message="no", traceback="", step=0)
    store.folder(runs[0].identity).mkdir(parents=True)
    store.write_failure(runs[0].identity, failure)
    limit.check()


@pytest.mark.parametrize("text", [None, "", "0", str(MOST_RESTARTS - 1), "many", "-3"])
def test_few_restarts_need_no_progress(store, runs, monkeypatch, text):
    if text is not None:
        monkeypatch.setenv("SLURM_RESTART_COUNT", text)
    RestartLimit(store, runs).check()
