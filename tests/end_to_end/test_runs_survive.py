"""Errors of tasks, libraries and workers: finished runs are kept, and a study ends."""

import os
import signal
import subprocess
import sys
import time

import pytest

from quatrain.results import ResultStore, RunState
from quatrain.specs import StudyError
from quatrain.study import load_study, run_study

RUN = """
import signal, sys
from pathlib import Path
from quatrain.study import run_study
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs ignore it
run_study(Path(sys.argv[1]), Path(sys.argv[2]), command=sys.argv[3:])
"""


@pytest.fixture
def out(tmp_path):
    return tmp_path / "out"


def diary(store, run):
    return (store.files(run.identity) / "diary.txt").read_text().splitlines()


def test_any_exception_of_a_task_is_stored_and_the_worker_continues(write_study, command, out):
    troubles = ("exit", "panic", "surrogate", "long", "mute")
    bad = ", ".join(f"cell({trouble!r}, trouble={trouble!r})" for trouble in troubles)
    path = write_study(f"[{bad}, cell('good')]", seeds="(0,)")
    summary = run_study(path, out, jobs=1, command=command)
    store, runs = ResultStore(out), load_study(path).select()
    assert [event.label for event in summary.done] == ["one/good seed 0"]
    for run, event in zip(runs[:-1], summary.failed, strict=True):
        failure = store.failure(run.identity)
        assert (failure.reason, failure.step) == ("error", 2)
        assert failure.message == event.message
        assert len(failure.message) < 11_000
    assert len({line.split(" in ")[1] for run in runs for line in diary(store, run)}) == 1


@pytest.mark.parametrize("trouble", ["interrupted once", "orphaned once"])
def test_the_run_of_a_worker_that_ends_resumes(write_study, command, out, trouble):
    path = write_study(f"[cell('bad', trouble={trouble!r}), cell('good')]", seeds="(0,)")
    before = time.monotonic()
    summary = run_study(path, out, jobs=1, command=command)
    assert time.monotonic() - before < 45
    store, (bad, good) = ResultStore(out), load_study(path).select()
    assert [event.identity for event in summary.done] == [good.identity]
    assert [event.reason for event in summary.failed] == ["killed"]
    assert [event.identity for event in run_study(path, out, command=command).done] == [
        bad.identity
    ]
    assert [line.split(" in ")[0] for line in diary(store, bad)] == ["from 0", "from 2"]


def test_workers_that_cannot_start_stop_the_study_and_finished_runs_are_kept(
    write_study, command, finish, out
):
    path = write_study("[cell('a'), cell('b', weight=2), cell('c', weight=3)]", seeds="(0,)")
    finish(path, ["a"])
    broken = (sys.executable, "-c", "print('a banner'); raise SystemExit(7)")
    summary = run_study(path, out, jobs=1, command=broken)
    assert [event.kind for event in summary.events] == ["skipped", "failed"]
    assert summary.external_failure is summary.failed[0]
    assert "ended with exit status 7 before it began a run" in summary.external_failure.message
    assert "a banner" in (out / "worker-1.log").read_text()
    again = run_study(path, out, command=command)
    assert (len(again.skipped), len(again.done)) == (1, 2)


def test_a_study_resumes_after_its_log_could_not_be_written(write_study, command, out):
    path = write_study("[cell('a')]", seeds="(0,)")
    (out / "worker-1.log").mkdir(parents=True)
    with pytest.raises(StudyError):
        run_study(path, out, command=command)
    (out / "worker-1.log").rmdir()
    assert len(run_study(path, out, command=command).done) == 1


IN_WORKERS = """
import os, sys, threading, time
if os.getppid() == {runner}:
    print('loading the grid')
    os.write(1, b'caf\\xe9\\n')
    threading.Thread(target=time.sleep, args=(1,)).start()
    os.chdir('/')
    sys.stdout = None
"""


def test_side_effects_of_a_study_file_in_a_worker_break_no_run(write_study, command, out):
    path = write_study("[cell('a'), cell('b', weight=2)]", seeds="(0,)")
    path.write_text(IN_WORKERS.format(runner=os.getpid()) + path.read_text())
    assert len(run_study(path, out, jobs=1, command=command).done) == 2


def test_a_study_file_that_fails_in_workers_only_is_an_external_failure(write_study, command, out):
    path = write_study("[cell('a'), cell('b', weight=2)]", seeds="(0,)")
    source = f"import os, sys\nif os.getppid() == {os.getpid()}:\n    sys.exit()\n"
    path.write_text(source + path.read_text())
    summary = run_study(path, out, jobs=1, command=command)
    assert len(summary.events) == 1
    assert "a_study.py line 3" in summary.external_failure.message


def test_an_interrupted_runner_ends_although_its_worker_is_stopped(write_study, command, out):
    path = write_study("[cell('a', steps=400, trouble='slow')]", seeds="(0,)")
    runner = subprocess.Popen(
        [sys.executable, "-c", RUN, str(path), str(out), *command], stderr=subprocess.PIPE
    )
    store, run = ResultStore(out), load_study(path).select()[0]
    while not (store.files(run.identity) / "checkpoint.safetensors").exists():
        time.sleep(0.01)
    worker = int(diary(store, run)[0].split(" in ")[1])
    os.kill(worker, signal.SIGSTOP)
    before = time.monotonic()
    os.kill(runner.pid, signal.SIGINT)
    runner.communicate()
    assert time.monotonic() - before < 5
    assert store.state(run.identity) is RunState.PAUSED
