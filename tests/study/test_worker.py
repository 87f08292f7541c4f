import os
import subprocess

import pytest

from quatrain.results import ResultStore
from quatrain.study import load_study
from quatrain.study.protocol import Event, Order


@pytest.fixture
def talk(write_study, command, tmp_path):
    """Send orders to one worker and return its events and its output."""

    def send(cells, *extra):
        path = write_study(cells, seeds="(0,)")
        orders = [*(Order(run.identity, 0) for run in load_study(path).select()), *extra]
        reading, writing = os.pipe()
        worker = subprocess.Popen(
            [*command, str(path), "--out", str(tmp_path / "out"), "--events", str(writing)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            encoding="utf-8", pass_fds=(writing,),
        )  # fmt: skip
        os.close(writing)
        events = []
        with os.fdopen(reading) as pipe:
            for order in orders:
                worker.stdin.write(order.to_line())
                worker.stdin.flush()
                events.append(Event.from_line(pipe.readline()))
                while not events[-1].is_final:
                    events.append(Event.from_line(pipe.readline()))
        printed, _ = worker.communicate()
        return events, printed

    return send


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
