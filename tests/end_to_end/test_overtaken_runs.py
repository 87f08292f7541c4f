"""Runs that are taken over by another process, or are asked to stop."""

from types import SimpleNamespace

import pytest

from quatrain.results import Record, ResultStore
from quatrain.study import load_study
from quatrain.study.execute import Environment, execute_run


@pytest.fixture
def run(write_study):
    return load_study(write_study("[cell('a')]", seeds="(3,)")).select()[0]


@pytest.fixture
def store(tmp_path):
    return ResultStore(tmp_path / "out")


def result(score):
    return SimpleNamespace(
        objective=score, steps=9, seconds=0.1, weights=None, notes=(), session_seconds=None
    )


def environment(store, train, **fields):
    return Environment(
        store=store, data=None, device="cpu", threads=1, commit=None, train=train, **fields
    )


def overtaken(run, store, score):
    """Execute a run that another process takes over and finishes meanwhile, with this score."""
    other = ResultStore(store.root, lease_seconds=-1.0)
    events = []

    def train(*_, **__):
        lease = store.folder(run.identity) / "attempts" / "1.json"
        lease.write_text("{}")  # of an unknown process: it expires by age
        winner = environment(other, lambda *_, **__: result(score))
        assert execute_run(run, winner, retry=False, notify=events.append).kind == "done"
        lease.with_suffix("").mkdir(parents=True)  # which the other process has removed
        return result(3.0)

    closing = execute_run(run, environment(store, train), retry=False, notify=events.append)
    return closing, events


def test_the_first_of_two_processes_that_finish_a_run_publishes_its_record(run, store):
    closing, events = overtaken(run, store, score=3.0)
    assert closing.kind == "skipped"
    assert store.record(run.identity).attempt == 2
    assert not [event for event in events if "another process" in event.message]
    names = {path.name for path in store.folder(run.identity).iterdir()}
    assert names == {"record.json", "spec.json", "answers.txt"}


def test_a_second_record_that_differs_is_kept_and_said(run, store):
    closing, events = overtaken(run, store, score=4.0)
    assert closing.kind == "skipped"
    assert store.record(run.identity).metrics == {"score": 4.0}
    (note,) = [event.message for event in events if "another process" in event.message]
    second = store.folder(run.identity) / "record-of-attempt-1.json"
    assert "metrics" in note
    assert str(second) in note
    assert Record.from_json(second.read_bytes(), "").metrics == {"score": 3.0}


def test_an_error_after_another_process_has_finished_the_run_is_no_failure(run, store):
    def train(*_, **__):
        store.write_record(finished)
        raise FileNotFoundError("the folder of the attempt is gone")

    first = environment(store, lambda *_, **__: result(3.0))
    execute_run(run, first, retry=False, notify=lambda _: None)
    finished = store.record(run.identity)
    (store.folder(run.identity) / "record.json").unlink()
    assert (
        execute_run(run, environment(store, train), retry=False, notify=lambda _: None).kind
        == "skipped"
    )
    assert store.failure(run.identity) is None


def test_an_error_after_a_stop_was_asked_for_is_a_pause(run, store):
    def train(*_, **__):
        raise OSError("a reader was killed")

    asked = environment(store, train, should_stop=lambda: True)
    assert execute_run(run, asked, retry=False, notify=lambda _: None).kind == "paused"
    assert store.failure(run.identity) is None


def test_a_task_with_its_own_loop_is_paused_at_its_report(run, store, monkeypatch):
    def fit(_, folder, *, seed, device, notify):
        (folder / "own.txt").write_text("half")
        notify(SimpleNamespace(
            step=1, steps=9, loss=None, rate=1.0, rate_unit="s", seconds_left=None, text=""
        ))  # fmt: skip
        raise AssertionError("the loop goes on")

    monkeypatch.setattr(type(run.spec.open(None, store.root, 0)), "fit", fit, raising=False)
    asked = environment(store, None, should_stop=lambda: True)
    assert execute_run(run, asked, retry=False, notify=lambda _: None).kind == "paused"
    assert (store.files(run.identity) / "own.txt").read_text() == "half"
