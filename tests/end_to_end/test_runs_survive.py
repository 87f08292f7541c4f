"""Whatever a task, its libraries or its worker do: nothing finished is lost, and a study ends."""

import os
import signal
import subprocess
import sys
import time

import pytest

from quatrain.results import ResultStore, RunState
from quatrain.specs import StudyError
from quatrain.study import Selection, load_study, run_study

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
    return (store.folder(run.identity) / "diary.txt").read_text().splitlines()


@pytest.mark.parametrize("trouble", ["exit", "panic", "surrogate", "long", "mute"])
def test_whatever_a_task_raises_is_kept_and_the_worker_goes_on(write_study, command, out, trouble):
    path = write_study(f"[cell('bad', trouble={trouble!r}), cell('good')]", seeds="(0,)")
    summary = run_study(path, out, jobs=1, command=command)
    store, (bad, good) = ResultStore(out), load_study(path).select()
    assert [event.identity for event in summary.done] == [good.identity]
    failure = store.failure(bad.identity)
    assert (failure.reason, failure.step) == ("error", 2)
    assert failure.message == summary.failed[0].message
    assert len(failure.message) < 11_000
    assert (
        "Error" in failure.traceback or "Exi" in failure.traceback or "Panic" in failure.traceback
    )
    processes = {line.split(" in ")[1] for run in (bad, good) for line in diary(store, run)}
    assert len(processes) == 1
    assert len(run_study(path, out, command=command).failed) == 1


@pytest.mark.parametrize("trouble", ["interrupted once", "orphaned once"])
def test_a_worker_that_ends_in_a_run_is_noticed_and_the_run_resumes(
    write_study, command, out, trouble
):
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


def test_workers_that_cannot_start_stop_the_study_and_nothing_finished_is_lost(
    write_study, command, out
):
    path = write_study("[cell('a'), cell('b', weight=2), cell('c', weight=3)]", seeds="(0,)")
    run_study(path, out, select=Selection(cells=["a"]), command=command)
    broken = (sys.executable, "-c", "print('a banner'); raise SystemExit(7)")
    summary = run_study(path, out, jobs=1, command=broken)
    assert [event.kind for event in summary.events] == ["skipped", "failed"]
    assert summary.external_failure is summary.failed[0]
    assert "ended with exit status 7 before it began a run" in summary.external_failure.message
    assert "a banner" in (out / "worker-1.log").read_text()
    again = run_study(path, out, command=command)
    assert (len(again.skipped), len(again.done)) == (1, 2)


def test_a_log_that_cannot_be_written_is_one_sentence_and_the_study_goes_on_afterwards(
    write_study, command, out
):
    path = write_study("[cell('a')]", seeds="(0,)")
    (out / "worker-1.log").mkdir(parents=True)
    with pytest.raises(StudyError, match=r"worker log is .*move it away"):
        run_study(path, out, command=command)
    (out / "worker-1.log").rmdir()
    assert len(run_study(path, out, command=command).done) == 1


READ = {
    "prints": "print('reading the grid')",
    "prints bytes": "import os; os.write(1, b'caf\\xe9\\n')",
    "has a thread": "import threading as t, time\nt.Thread(target=time.sleep, args=(1,)).start()",
    "changes the folder": "import os; os.chdir('/')",
    "closes stdout": "import sys; sys.stdout = None",
}


@pytest.mark.parametrize("line", READ.values(), ids=READ)
def test_what_a_study_does_while_a_worker_reads_it_breaks_no_run(write_study, command, out, line):
    path = write_study("[cell('a'), cell('b', weight=2)]", seeds="(0,)")
    source = "import os\nif os.getppid() == HERE:\n".replace("HERE", str(os.getpid()))
    source += "".join(f"    {each}\n" for each in line.splitlines())
    path.write_text(source + path.read_text())
    assert len(run_study(path, out, jobs=1, command=command).done) == 2


@pytest.mark.parametrize("end", ["sys.exit()", "sys.exit('no')", "1 / 0"])
def test_a_study_that_only_workers_cannot_read_stops_in_a_sentence(write_study, command, out, end):
    path = write_study("[cell('a'), cell('b', weight=2)]", seeds="(0,)")
    source = f"import os, sys\nif os.getppid() == {os.getpid()}:\n    {end}\n"
    path.write_text(source + path.read_text())
    summary = run_study(path, out, jobs=1, command=command)
    assert len(summary.events) == 1
    assert "a_study.py line 3" in summary.external_failure.message


def test_an_interrupted_runner_ends_soon_although_its_worker_is_stopped(write_study, command, out):
    path = write_study("[cell('a', steps=400, trouble='slow')]", seeds="(0,)")
    runner = subprocess.Popen(
        [sys.executable, "-c", RUN, str(path), str(out), *command], stderr=subprocess.PIPE
    )
    store, run = ResultStore(out), load_study(path).select()[0]
    while not (store.folder(run.identity) / "checkpoint.safetensors").exists():
        time.sleep(0.01)
    worker = int(diary(store, run)[0].split(" in ")[1])
    os.kill(worker, signal.SIGSTOP)
    before = time.monotonic()
    os.kill(runner.pid, signal.SIGINT)
    runner.communicate()
    assert time.monotonic() - before < 5
    assert store.state(run.identity) is RunState.PAUSED
