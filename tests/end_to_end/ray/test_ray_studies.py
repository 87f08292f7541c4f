"""Studies on a real Ray cluster of two nodes, which runs on this machine."""

import json

import pytest

from fake.ray_cluster import starts, wait_until, wait_until_ended
from quatrain.results import ResultStore, RunState
from quatrain.specs import StudyError
from quatrain.study import load_study, run_study
from quatrain.study.engines import NoClusterError, Ray, active_jobs, stored_jobs

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("ray")]


def cells(count, **fields):
    more = "".join(f", {name}={value!r}" for name, value in fields.items())
    return f"[cell(str(n), weight=n + 1{more}) for n in range({count})]"


def metrics(out, path):
    store = ResultStore(out)
    return [store.record(run.identity).metrics for run in load_study(path).select()]


def test_a_study_over_two_nodes_executes_each_run_once(
    call, cluster, write_study, out, tmp_path, command
):
    path = write_study(cells(3, trouble="slow", steps=10))
    done = call("run", path, "--out", out, "--on", "ray", "--jobs", "2")
    assert done.exit_code == 0, done.output
    assert "2 workers for 6 runs" in done.output
    assert "6 done now, 0 before, 0 failed." in done.output
    lines = starts(out)
    assert [[step for step, _ in attempts] for attempts in lines.values()] == [[0]] * 6
    assert len({process for ((_, process),) in lines.values()}) == 2  # workers
    run_study(path, tmp_path / "local", command=command)
    assert metrics(out, path) == metrics(tmp_path / "local", path)
    (job,) = json.loads((out / "jobs.json").read_text())["jobs"]
    assert job["id"] == job["name"]
    assert (out / "report" / "report.html").exists()


def test_cancelled_runs_are_completed_by_a_second_submission(call, cluster, write_study, out):
    path = write_study(cells(1, trouble="slow", steps=200), "(0,)")
    call("submit", path, "--out", out, "--on", "ray")
    wait_until(lambda: starts(out))
    assert "1 worker runs" in call("status", out).output
    assert "(1 worker runs)" in call("cancel", out).output
    wait_until_ended(stored_jobs(ResultStore(out)))
    assert call("cancel", out).output == "No job is active: 1 job ended.\n"
    (run,) = starts(out)
    assert ResultStore(out).state(run) is RunState.PAUSED
    again = call("run", path, "--out", out, "--on", "ray")
    assert "1 worker for 1 run" in again.output
    assert metrics(out, path) == [{"score": 200.0}]
    (first, _), (second, _) = starts(out)[run]
    assert first == 0 < second


def test_workers_that_no_node_can_execute_wait_and_can_be_cancelled(
    call, cluster, write_study, out
):
    path = write_study(cells(2), "(0,)")
    call("submit", path, "--out", out, "--on", "ray", "--device", "cuda:0")
    (line,) = call("status", out).output.splitlines()[-1:]
    assert line.endswith("2 workers wait (2 of 2 CPUs and 0 of 0 GPUs are free)")
    call("cancel", out)
    wait_until(lambda: not active_jobs(ResultStore(out)))
    assert starts(out) == {}


def test_a_folder_that_a_node_lacks_is_one_sentence(call, cluster, tmp_path):
    request = {"name": "a", "count": 2, "command": ["true"], "resources": {}}
    request |= {"folder": str(tmp_path), "logs": str(tmp_path / "absent")}
    with pytest.raises(StudyError) as error:
        Ray()._call("start", request)
    assert error.value.field == "--on"
    assert "No such file or directory" in str(error.value)
    wait_until(lambda: not Ray().states(["a"]))


def test_without_a_cluster_nothing_is_submitted(call, monkeypatch, write_study, out):
    path = write_study(cells(1), "(0,)")
    for address in ("local", "127.0.0.1:9"):
        monkeypatch.setenv("RAY_ADDRESS", address)
        with pytest.raises(NoClusterError):
            call("submit", path, "--out", out, "--on", "ray")
    with pytest.raises(NoClusterError):
        call("run", path, "--out", out, "--on", "ray")
    assert stored_jobs(ResultStore(out)) == ()


def test_a_cluster_of_this_machine_lives_as_long_as_the_command(
    call, monkeypatch, write_study, out
):
    monkeypatch.setenv("RAY_ADDRESS", "local")
    path = write_study(cells(2, trouble="slow"), "(0,)")
    done = call("run", path, "--out", out, "--on", "ray")
    assert done.exit_code == 0, done.output
    assert "2 done now, 0 before, 0 failed." in done.output
    assert metrics(out, path) == [{"score": 4.0}, {"score": 8.0}]
    assert stored_jobs(ResultStore(out)) == ()
