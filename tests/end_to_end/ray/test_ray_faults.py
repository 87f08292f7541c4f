"""Workers, nodes and a cluster that are lost: each run is done once, with the same result."""

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from fake.ray_cluster import RayCluster, starts, wait_until
from quatrain.results import ResultStore, RunState
from quatrain.specs import StudyError
from quatrain.study import load_study

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("ray")]

PROGRAM = str(Path(__file__).parents[2] / "fake" / "program.py")


def slow(count, steps):
    return f"[cell(str(n), trouble='slow', steps={steps}, weight=n + 1) for n in range({count})]"


def scores(out, path):
    store = ResultStore(out)
    return [store.record(run.identity).metrics["score"] for run in load_study(path).select()]


def step_of(out):
    """The largest step from which a run can resume."""
    paths = out.glob("runs/**/checkpoint.safetensors")
    return max((int(path.read_text()[1:].split(",")[0]) for path in paths), default=0)


def run_while(act, call, *arguments):
    """Call `quatrain study run --on ray`, and `act` at the same time."""
    actor = threading.Thread(target=act)
    actor.start()
    try:
        return call("run", *arguments, "--on", "ray")
    finally:
        actor.join()


def parent_of(process):
    status = Path(f"/proc/{process}/status").read_text()
    return int(status.partition("PPid:")[2].split()[0])


def test_a_worker_that_is_killed_is_started_again_by_ray(call, cluster, write_study, out):
    path = write_study(slow(1, 30), "(0,)")

    def kill_worker():
        wait_until(lambda: step_of(out) > 5)
        (((_, process),),) = starts(out).values()
        os.kill(parent_of(process), signal.SIGKILL)

    done = run_while(kill_worker, call, path, "--out", out)
    assert done.exit_code == 0, done.output
    assert done.output.count("Submitted ray job") == 1
    assert scores(out, path) == [30.0]
    (((first, _), (second, _)),) = starts(out).values()
    assert first == 0 < second


def test_runs_of_a_node_that_is_lost_are_resumed(call, cluster, write_study, out):
    path = write_study(slow(2, 50), "(0,)")

    def lose_node():
        wait_until(lambda: len(starts(out)) == 2 and step_of(out) > 5)
        cluster.lose_second_node()

    done = run_while(lose_node, call, path, "--out", out)
    assert done.exit_code == 0, done.output
    assert scores(out, path) == [50.0, 100.0]
    kept, lost = sorted([step for step, _ in attempts] for attempts in starts(out).values())
    assert kept == [0]
    assert lost[0] == 0 < lost[1]


def test_a_lost_cluster_ends_the_command_and_the_next_one_goes_on(
    call, write_study, out, monkeypatch
):
    cells = "[cell('a'), cell('b', trouble='slow', steps=40, weight=2)]"
    path = write_study(cells, "(0,)")
    quick, _ = load_study(path).select()
    first = RayCluster()
    monkeypatch.setenv("RAY_ADDRESS", first.address)

    def lose_cluster():
        wait_until(lambda: ResultStore(out).state(quick.identity) is RunState.DONE)
        wait_until(lambda: step_of(out) > 5)
        first.stop()

    with pytest.raises(StudyError) as error:
        run_while(lose_cluster, call, path, "--out", out)
    assert first.address in str(error.value)
    second = RayCluster()
    try:
        monkeypatch.setenv("RAY_ADDRESS", second.address)
        again = call("run", path, "--out", out, "--on", "ray")
    finally:
        second.stop()
    assert "1 done now, 1 before, 0 failed." in again.output
    assert scores(out, path) == [4.0, 80.0]
    finished, lost = sorted([step for step, _ in attempts] for attempts in starts(out).values())
    assert finished == [0]
    assert lost[0] == 0 < lost[1]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_a_command_that_ends_early_leaves_checkpoints_and_no_process(
    call, write_study, out, monkeypatch, number
):
    path = write_study(slow(1, 400), "(0,)")
    monkeypatch.setenv("RAY_ADDRESS", "local")
    command = [sys.executable, PROGRAM, "study", "run", path, "--out", out, "--on", "ray"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    wait_until(lambda: step_of(out) > 5)
    (run,) = starts(out)
    process.send_signal(number)
    _, errors = process.communicate()
    if number == signal.SIGINT:
        assert process.returncode == 130
        assert errors.startswith(b"Stopped; checkpoints are kept")
    wait_until(lambda: ResultStore(out).state(run) is RunState.PAUSED)
    (((_, worker),),) = starts(out).values()
    wait_until(lambda: not Path(f"/proc/{worker}").exists())
    assert step_of(out) > 5
