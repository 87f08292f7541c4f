"""Jobs that Slurm stops, repeats or forgets: each run is done once, with the same result."""

import os
import signal
import threading
import time

import pytest

from fake.slurm_cluster import diaries
from quatrain.results import ResultStore, RunState
from quatrain.study import load_study

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("slurm")]
URGENT = "#!/bin/sh\nsleep 2\n"


def one_run(write_study, steps):
    path = write_study(f"[cell('a', trouble='slow', steps={steps}, weight=2)]", "(0,)")
    return path, load_study(path).select()[0].identity


def starts(out):
    """The step from which each attempt of the run started."""
    (lines,) = diaries(out).values()
    return [int(line.split()[1]) for line in lines]


def output(out):
    """The output of all workers."""
    return "".join(path.read_text() for path in (out / "logs").glob("*.out"))


def test_a_pre_empted_worker_resumes(call, cluster, write_study, out):
    path, run = one_run(write_study, 150)
    call("submit", path, "--out", out)
    cluster.wait_until(lambda: diaries(out))
    time.sleep(2)
    urgent = ("--partition=urgent", "--array=0-3", "--output=/dev/null")
    cluster.call("sbatch", *urgent, script=URGENT)
    cluster.wait_until(lambda: "PENDING" in cluster.queue().values(), 30)
    assert call("watch", out, "--every", "0.2").exit_code == 0
    record = ResultStore(out).record(run)
    assert record.metrics == {"score": 300.0}
    first, second = starts(out)
    assert first == 0
    assert 0 < second < 150


def test_a_worker_resumes_after_its_time_limit(call, cluster, write_study, out):
    path, run = one_run(write_study, 500)
    limits = ("--slurm", "time=1", "--slurm", "signal=B:USR1@20")
    done = call("run", path, "--out", out, "--on", "slurm", *limits)
    assert done.exit_code == 0, done.output
    assert "1 done now" in done.output
    assert ResultStore(out).record(run).metrics == {"score": 1000.0}
    first, second, *_ = starts(out)
    assert (first, second > 0) == (0, True)
    assert "start this worker again" in output(out)


def test_a_run_whose_node_is_lost_while_its_process_goes_on_is_done_once(
    call, cluster, write_study, out
):
    path, run = one_run(write_study, 600)
    call("submit", path, "--out", out)
    cluster.wait_until(lambda: diaries(out))
    (task,) = cluster.queue()
    node = cluster.call("squeue", "-h", "-j", task, "-o", "%N").strip()
    cluster.kill(node)
    # The worker that Slurm starts on the other node leaves the run to the first one.
    cluster.wait_until(lambda: "0 runs done by this worker." in output(out))
    assert ResultStore(out).state(run) is RunState.RUNNING
    assert call("watch", out, "--every", "0.2").exit_code == 0
    cluster.start_node(node)
    assert ResultStore(out).record(run).metrics == {"score": 1200.0}
    assert starts(out) == [0]


def test_a_run_whose_worker_is_killed_is_submitted_again(call, cluster, write_study, out):
    path, run = one_run(write_study, 60)

    def kill_worker():
        cluster.wait_until(lambda: diaries(out))
        time.sleep(2)
        ((line,),) = diaries(out).values()
        os.kill(int(line.split(" in ")[1]), signal.SIGKILL)

    killer = threading.Thread(target=kill_worker)
    killer.start()
    done = call("run", path, "--out", out, "--on", "slurm")
    killer.join()
    assert done.exit_code == 0, done.output
    assert done.output.count("Submitted slurm job") == 2
    assert ResultStore(out).record(run).metrics == {"score": 120.0}
    first, second = starts(out)
    assert first == 0 < second
