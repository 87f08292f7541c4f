import os
import signal
import subprocess

import pytest

from quatrain.results import ResultStore, RunState
from quatrain.study import load_study
from quatrain.study.protocol import Event, Order


@pytest.fixture
def start(command, tmp_path):
    """Start a worker of a study file; return its process, and a pipe with its events."""

    def begin(path):
        reading, writing = os.pipe()
        worker = subprocess.Popen(
            [*command, str(path), "--out", str(tmp_path / "out"), "--events", str(writing)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            encoding="utf-8", pass_fds=(writing,),
        )  # fmt: skip
        os.close(writing)
        return worker, os.fdopen(reading)

    return begin


def send(worker, order):
    worker.stdin.write(order.to_line())
    worker.stdin.flush()


def events_until(pipe, is_last):
    events = [Event.from_line(pipe.readline())]
    while not is_last(events[-1]):
        events.append(Event.from_line(pipe.readline()))
    return events


@pytest.fixture
def talk(write_study, start):
    """Send orders to one worker and return its events and its output."""

    def exchange(cells, *extra):
        path = write_study(cells, seeds="(0,)")
        worker, pipe = start(path)
        events = []
        with pipe:
            for order in [*(Order(run.identity, 0) for run in load_study(path).select()), *extra]:
                send(worker, order)
                events += events_until(pipe, lambda event: event.is_final)
        printed, _ = worker.communicate()
        return events, printed

    return exchange


def test_a_worker_executes_several_runs(talk, tmp_path):
    events, printed = talk("[cell('a'), cell('b', weight=2), cell('c', trouble='error')]")
    assert [e.kind for e in events if e.is_final] == ["done", "done", "failed"]
    assert [e.step for e in events if e.kind == "progress" and e.steps][:4] == [1, 2, 3, 4]
    assert "output of a task" in printed
    assert len(ResultStore(tmp_path / "out").all_records()) == 2


def test_a_run_may_start_processes(talk):
    events, _ = talk("[cell('a', trouble='child')]")
    assert (events[-1].kind, events[-1].message) == ("done", "")


def test_a_folder_that_cannot_be_written_is_an_external_failure(talk, tmp_path):
    (tmp_path / "out").write_text("a file where the folder should be")
    events, _ = talk("[cell('a')]")
    assert (events[-1].kind, events[-1].external) == ("failed", True)


def test_an_order_for_an_unknown_run_is_an_external_failure(talk):
    events, _ = talk("[cell('a')]", Order("0" * 64, 0))
    assert events[-1].kind == "failed"
    assert events[-1].external


def test_an_order_for_other_code_is_an_external_failure(talk, write_study, tmp_path):
    run = load_study(write_study("[cell('a')]", seeds="(5,)")).select()[0]
    same = Order(run.identity, 5, False, run.label, run.spec_code)
    events, _ = talk("[cell('b', weight=2), cell('a')]", same)
    assert events[-1].kind == "done"
    run = load_study(write_study("[cell('a')]", seeds="(6,)")).select()[0]
    events, _ = talk("[cell('a')]", Order(run.identity, 6, False, run.label, "b" * 64))
    assert (events[-1].kind, events[-1].external) == ("failed", True)
    assert len(ResultStore(tmp_path / "out").all_records()) == 3


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1])
def test_a_signal_pauses_the_run_of_a_worker_which_ends(write_study, start, tmp_path, number):
    path = write_study("[cell('a', steps=400, trouble='slow')]", seeds="(0,)")
    (run,) = load_study(path).select()
    worker, pipe = start(path)
    send(worker, Order(run.identity, 0))
    with pipe:
        events_until(pipe, lambda event: event.step == 3)
        worker.send_signal(number)
        events = [Event.from_line(line) for line in pipe]
    worker.communicate()
    assert (worker.returncode, events[-1].kind) == (0, "paused")
    store = ResultStore(tmp_path / "out")
    assert (store.state(run.identity), store.failure(run.identity)) == (RunState.PAUSED, None)


def test_a_signal_ends_an_idle_worker(write_study, start):
    path = write_study("[cell('a')]", seeds="(0,)")
    (run,) = load_study(path).select()
    worker, pipe = start(path)
    send(worker, Order(run.identity, 0))
    with pipe:
        events_until(pipe, lambda event: event.is_final)
        worker.send_signal(signal.SIGTERM)
        worker.communicate()
    assert worker.returncode == 0
