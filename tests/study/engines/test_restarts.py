import pytest

from quatrain.results import CHECKPOINT, Failure
from quatrain.specs import StudyError
from quatrain.study import load_study
from quatrain.study.engines.restarts import MOST_RESTARTS, RestartLimit


@pytest.fixture
def runs(write_study):
    return load_study(write_study("[cell('a'), cell('b', weight=2)]")).select()


def checkpoint(store, run, content, name=CHECKPOINT):
    path = store.files(run.identity) / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


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


@pytest.mark.parametrize("name", ["my.pt", "checkpoint-500/optimizer.pt"])
@pytest.mark.parametrize("position", [0, 2**20 - 1])
def test_a_file_of_another_training_loop_is_progress(store, runs, monkeypatch, name, position):
    monkeypatch.setenv("SLURM_RESTART_COUNT", "999")
    checkpoint(store, runs[0], bytes(2**20), name)
    limit = RestartLimit(store, runs)
    changed = bytearray(2**20)
    changed[position] = 1
    checkpoint(store, runs[0], changed, name)
    limit.check()


@pytest.mark.parametrize("name", ["metrics.jsonl", "sessions.json", ".my.pt.1a2b3c4d.tmp"])
def test_a_log_and_a_further_attempt_are_no_progress(store, runs, monkeypatch, name):
    monkeypatch.setenv("SLURM_RESTART_COUNT", "999")
    with store.claim(runs[0].identity) as attempt:
        attempt.begin()
    checkpoint(store, runs[0], b"step 3", "my.pt")
    limit = RestartLimit(store, runs)
    with store.claim(runs[0].identity) as attempt:
        attempt.begin()
    checkpoint(store, runs[0], b"another session", name)
    with pytest.raises(StudyError):
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
