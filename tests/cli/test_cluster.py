import json
import math
import os
from contextlib import contextmanager

import pytest
from rich.console import Console

from quatrain.cli import cluster, engines
from quatrain.results import ResultStore, RunState
from quatrain.specs import StudyError
from quatrain.study import Selection, load_study, run_study
from quatrain.study.engines import JobState, NoAnswerError, NoClusterError, jobs

CELLS = "[cell('a'), cell('b', weight=2)]"


class FakeSlurm:
    """A cluster that does `act` when a job is submitted; its jobs are `active`."""

    name = "slurm"
    active, options, act = {}, None, None
    ended = frozenset()

    def __init__(self, options=()):
        FakeSlurm.options = options or FakeSlurm.options

    def address(self):
        return None

    def start(self, workers, name):
        self.active[name] = JobState("12", running=workers.count)
        if FakeSlurm.act is not None:
            FakeSlurm.act(workers, name)
        return "12"

    def states(self, names):
        return {name: self.active[name] for name in names if name in self.active}

    def cancelled(self, names):
        return self.ended & {*names}

    def cancel(self, names):
        for name in names:
            self.active.pop(name)

    def time_limit(self, seconds):
        return None if seconds is None else math.ceil(seconds / 60)


@pytest.fixture
def slurm(monkeypatch):
    monkeypatch.setattr(FakeSlurm, "active", {})
    monkeypatch.setattr(FakeSlurm, "options", None)
    monkeypatch.setattr(FakeSlurm, "act", None)
    monkeypatch.setattr(FakeSlurm, "ended", frozenset())
    monkeypatch.setattr(engines, "Slurm", FakeSlurm)
    monkeypatch.setitem(jobs.ENGINES, "slurm", lambda _: FakeSlurm())
    monkeypatch.setattr(cluster, "_LOOK_SECONDS", 0.01)
    monkeypatch.setattr(cluster, "_JOB_SECONDS", 0.01)
    return FakeSlurm


@pytest.fixture
def executes(slurm, command):
    """Let the cluster execute all runs at once, and its job end."""

    def act(workers, name):
        run_study(workers.study, workers.out, command=command, wait=False)
        del FakeSlurm.active[name]

    FakeSlurm.act = act


def states(path, out):
    store = ResultStore(out)
    return [store.state(run.identity) for run in load_study(path).select()]


def test_a_worker_executes_all_runs_that_are_left(call, write_study, out):
    path = write_study(CELLS)
    done = call("work", path, "--out", out, "--cells", "a", "--threads", 1)
    assert done.exit_code == 0
    assert "2 runs done by this worker." in done.output
    assert "2 runs done by this worker." in call("work", path, "--out", out).output
    assert states(path, out) == [RunState.DONE] * 4
    assert len(list(out.glob(f"logs/*-{os.getpid()}/worker-1.log"))) == 1
    assert not (out / "report").exists()


def test_a_worker_does_not_wait_for_the_runs_of_others(call, write_study, out):
    path = write_study(CELLS, "(0,)")
    first = load_study(path).select()[0]
    with ResultStore(out).claim(first.identity):
        assert "1 run done by this worker." in call("work", path, "--out", out).output


def test_a_worker_starts_no_run_that_would_end_after_its_budget(call, write_study, out):
    path = write_study("[cell('a'), cell('b', weight=2)]", "(0, 1)")
    first = call("work", path, "--out", out, "--seeds", "0", "--budget", "1h")
    assert "2 runs done by this worker." in first.output
    second = call("work", path, "--out", out, "--budget", "0.1s")
    assert (second.exit_code, "0 runs done by this worker." in second.output) == (0, True)


def test_a_failed_run_is_no_failure_of_its_worker(call, write_study, out):
    path = write_study("[cell('bad', trouble='error'), cell('good')]", "(0,)")
    assert call("work", path, "--out", out).exit_code == 0
    assert states(path, out) == [RunState.FAILED, RunState.DONE]


def test_a_worker_without_data_ends_with_status_2(call, write_study, out):
    done = call("work", write_study("[cell('a', trouble='data')]"), "--out", out)
    assert done.exit_code == 2
    assert "Error: the task reads data; pass --data" in done.output


def test_a_stopped_worker_ends_with_status_75(call, write_study, out, monkeypatch):
    def stopped(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(cluster, "run_study", stopped)
    done = call("work", write_study(CELLS), "--out", out)
    assert done.exit_code == 75
    assert "start this worker again" in done.output


def test_a_worker_is_not_restarted_for_ever(call, write_study, out, monkeypatch):
    def stopped(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(cluster, "run_study", stopped)
    path = write_study(CELLS)
    monkeypatch.setenv("SLURM_RESTART_COUNT", "19")
    assert call("work", path, "--out", out).exit_code == 75
    monkeypatch.setenv("SLURM_RESTART_COUNT", "20")
    with pytest.raises(StudyError) as error:
        call("work", path, "--out", out)
    assert error.value.field == "SLURM_RESTART_COUNT"


def test_a_submission_names_the_job_and_the_next_commands(call, slurm, write_study, out):
    path = write_study(CELLS)
    options = ("--slurm", "partition=gpu", "--slurm", "time=1:00:00")
    done = call("submit", path, "--out", out, "--on", "slurm", *options)
    assert done.exit_code == 0
    assert "Submitted slurm job 12: 4 workers for 4 runs." in done.output
    assert f"quatrain study cancel {out}" in done.output
    assert slurm.options == ["partition=gpu", "time=1:00:00"]
    again = call("submit", path, "--out", out).output
    assert "Active already: slurm job 12: 4 workers run." in again
    assert "No worker was submitted; 4 runs left: they share the runs." in again


def test_a_submission_has_the_time_limit_of_finished_runs(call, slurm, write_study, out, finish):
    path = write_study("[cell('a')]")
    assert "time limit" not in call("submit", path, "--out", out, "--jobs", 1).output
    finish(path, seeds=(0,))
    text = call("submit", path, "--out", out, "--seeds", "0-9", "--jobs", 3).output
    assert "Submitted slurm job 12: 3 workers for 9 runs, time limit 11:00 by finished" in text
    slurm.active.clear()
    more = call("submit", path, "--out", out, "--seeds", "0-9", "--json").output
    assert json.loads(more)["time_limit_minutes"] == 11


def test_submissions_and_cancellations_are_printed_as_json(call, slurm, write_study, out):
    path = write_study(CELLS)
    submitted = json.loads(call("submit", path, "--out", out, "--jobs", 3, "--json").output)
    assert (submitted["job"]["id"], submitted["job"]["workers"]) == ("12", 3)
    again = json.loads(call("submit", path, "--out", out, "--jobs", 3, "--json").output)
    assert again["job"] is None
    assert (again["active"][0]["running"], again["runs_left"]) == (3, 4)
    (cancelled,) = json.loads(call("cancel", out, "--json").output)
    assert (cancelled["id"], cancelled["running"], slurm.active) == ("12", 3, {})


def test_jobs_are_cancelled_once(call, slurm, write_study, out):
    with pytest.raises(StudyError, match=r"has no study\.json"):
        call("cancel", out)
    call("submit", write_study(CELLS), "--out", out, "--jobs", 2)
    assert call("cancel", out).output == "Cancelled slurm job 12 (2 workers run).\n"
    assert call("cancel", out).output == "No job is active: 1 job ended.\n"


def test_the_next_commands_quote_the_folder(call, slurm, write_study, tmp_path):
    folder = tmp_path / "my results"
    text = call("submit", write_study(CELLS), "--out", folder).output
    assert f"quatrain study cancel '{folder}' " in text


def test_status_and_watch_have_the_active_jobs(call, slurm, write_study, out):
    call("submit", write_study(CELLS), "--out", out)
    assert "4 absent\nslurm job 12: 4 workers run\n" in call("status", out).output
    assert "slurm job 12: 4 workers run" in call("watch", out, "--once").output
    shown = json.loads(call("watch", out, "--once", "--json").output)
    assert shown["jobs"] == ["slurm job 12: 4 workers run"]


def test_a_run_on_a_cluster_ends_with_the_report(call, executes, write_study, out):
    path = write_study("[cell('bad', trouble='error'), cell('good')]", "(0,)")
    done = call("run", path, "--out", out, "--on", "slurm")
    assert done.exit_code == 1
    assert "1 done now, 0 before, 1 failed." in done.output
    assert (out / "report" / "report.html").exists()
    again = call("run", path, "--out", out, "--on", "slurm")
    assert "No worker was submitted; 0 runs left: nothing to do." in again.output
    assert "0 done now, 1 before, 1 failed." in again.output


def test_jobs_that_end_without_the_runs_are_one_sentence(call, slurm, write_study, out):
    def act(workers, name):
        (workers.out / "logs").mkdir()
        (workers.out / "logs" / "slurm-12_0.out").write_text("starting\nno space left\n\n")
        del slurm.active[name]

    slurm.act = act
    with pytest.raises(StudyError) as error:
        call("run", write_study(CELLS), "--out", out, "--on", "slurm")
    assert str(error.value).startswith("4 runs left, and no job is active; run the command again (")
    assert str(error.value).endswith("slurm-12_0.out ends in: no space left)")


def test_earlier_workers_that_end_without_the_runs_are_replaced(
    call, slurm, executes, write_study, out
):
    path = write_study(CELLS)
    loaded = load_study(path)
    workers = cluster.workers_of(path, out, None, "cpu", 4, None, 0)
    act, slurm.act = slurm.act, None
    cluster.submit_workers(loaded, workers, slurm())
    states, slurm.act = slurm.states, act
    looks = []

    def ending(self, names):
        looks.append(names)
        if len(looks) > 2:
            slurm.active.clear()
        return states(self, names)

    slurm.states = ending
    try:
        runs = loaded.select()
        summary = cluster.run_on_cluster(Console(), loaded, runs, workers, Selection(), slurm())
    finally:
        slurm.states = states
    assert len(summary.done) == 4


def test_a_cancelled_job_is_not_submitted_again(call, slurm, write_study, out, monkeypatch):
    def cancel_while_it_is_followed(*_):
        call("cancel", out)
        return 5

    monkeypatch.setattr(cluster, "_follow", cancel_while_it_is_followed)
    with pytest.raises(StudyError, match="4 runs left, and the job was cancelled"):
        call("run", write_study(CELLS), "--out", out, "--on", "slurm")
    (job,) = json.loads((out / "jobs.json").read_text())["jobs"]
    assert job["cancelled"]


def test_no_job_follows_one_that_scancel_has_cancelled(call, slurm, write_study, out, monkeypatch):
    def cancel_while_it_is_followed(*_):
        slurm.ended = frozenset(slurm.active)
        slurm.active.clear()
        return 5

    monkeypatch.setattr(cluster, "_follow", cancel_while_it_is_followed)
    with pytest.raises(StudyError, match="4 runs left, and the job was cancelled"):
        call("run", write_study(CELLS), "--out", out, "--on", "slurm")
    assert len(json.loads((out / "jobs.json").read_text())["jobs"]) == 1


def test_without_an_answer_a_job_was_not_cancelled(call, slurm, write_study, out, monkeypatch):
    def no_answer(*_):
        raise NoAnswerError("Slurm does not answer; try again later", "slurm")

    monkeypatch.setattr(slurm, "cancelled", no_answer)
    monkeypatch.setattr(cluster, "_follow", lambda *_: slurm.active.clear() or 0)
    with pytest.raises(StudyError, match="4 runs left, and no job is active"):
        call("run", write_study(CELLS), "--out", out, "--on", "slurm")


def test_ctrl_c_stops_watching_only(call, slurm, write_study, out, monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(cluster, "follow", interrupted)
    done = call("run", write_study(CELLS), "--out", out, "--on", "slurm")
    assert done.exit_code == 130
    assert "the jobs continue" in done.output
    assert len(slurm.active) == 1


class FakeRay(FakeSlurm):
    """A Ray cluster that executes all runs at once; on this machine if none is running."""

    name, is_running, starts = "ray", True, 0

    def address(self):
        return "10.0.0.1:6379"

    def has_cluster(self):
        return self.is_running


@pytest.fixture
def ray(slurm, monkeypatch):
    @contextmanager
    def local_cluster():
        FakeRay.starts += 1
        yield

    def ray_at(address):
        assert address == "10.0.0.1:6379"
        return FakeRay()

    monkeypatch.setattr(FakeRay, "starts", 0)
    monkeypatch.setattr(FakeRay, "is_running", True)
    monkeypatch.setattr(cluster, "Ray", FakeRay)
    monkeypatch.setattr(engines, "Ray", FakeRay)
    monkeypatch.setattr(cluster, "local_cluster", local_cluster)
    monkeypatch.setitem(jobs.ENGINES, "ray", ray_at)
    return FakeRay


@pytest.mark.parametrize(
    ("error", "status"), [(NoClusterError("no cluster", "ray"), 0), (NoAnswerError("no", "ray"), 2)]
)
def test_jobs_of_a_cluster_that_is_lost_are_named_and_others_are_cancelled(
    call, ray, write_study, out, monkeypatch, error, status
):
    def lost(_):
        raise error

    path = write_study(CELLS)
    call("submit", path, "--out", out, "--on", "ray", "--jobs", "2")
    call("submit", path, "--out", out, "--on", "slurm")
    monkeypatch.setitem(jobs.ENGINES, "ray", lost)
    done = call("cancel", out)
    assert f"Not cancelled: ray job 12: {error}." in done.output
    assert "Cancelled slurm job 12 (2 workers run)." in done.output
    assert done.exit_code == status


@pytest.mark.parametrize("is_running", [True, False])
def test_a_run_on_ray_starts_a_cluster_if_none_is_running(
    call, ray, executes, write_study, out, is_running
):
    ray.is_running = is_running
    done = call("run", write_study(CELLS), "--out", out, "--on", "ray", "--ray", "num_cpus=2")
    assert done.exit_code == 0
    assert "Submitted ray job 12 at 10.0.0.1:6379: 4 workers for 4 runs." in done.output
    assert (ray.options, ray.starts) == (["num_cpus=2"], 1 - is_running)
    stored = json.loads((out / "jobs.json").read_text())["jobs"]
    assert [job["engine"] for job in stored] == ["ray"] * is_running


def test_ctrl_c_ends_the_workers_of_a_cluster_of_the_command(
    call, ray, write_study, out, monkeypatch
):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(cluster, "follow", interrupted)
    path = write_study(CELLS)
    ray.is_running = False
    done = call("run", path, "--out", out, "--on", "ray")
    assert (done.exit_code, "checkpoints are kept" in done.output) == (130, True)
    ray.is_running = True
    ray.active.clear()
    done = call("run", path, "--out", out, "--on", "ray")
    assert (done.exit_code, "the jobs continue" in done.output) == (130, True)


def test_workers_are_submitted_to_ray(call, ray, write_study, out):
    path = write_study(CELLS)
    done = call("submit", path, "--out", out, "--on", "ray", "--ray", "num_gpus=0.5")
    assert "Submitted ray job 12" in done.output
    assert ray.options == ["num_gpus=0.5"]
    assert call("cancel", out).output == "Cancelled ray job 12 (4 workers run).\n"


@pytest.mark.parametrize(
    ("options", "field"),
    [
        (("--slurm", "partition=gpu"), "--slurm"),
        (("--on", "ray", "--slurm", "partition=gpu"), "--slurm"),
        (("--on", "slurm", "--ray", "num_gpus=1"), "--ray"),
        (("--on", "ray", "--ray", "num_gpus"), "--ray"),
        (("--on", "ray", "--live"), "--live"),
        (("--on", "slurm", "--live"), "--live"),
        (("--on", "slurm", "--log-to", "tensorboard"), "--log-to"),
    ],
)
def test_options_fit_the_machine_that_executes(call, slurm, write_study, out, options, field):
    with pytest.raises(StudyError) as error:
        call("run", write_study(CELLS), "--out", out, *options)
    assert error.value.field == field
    assert not out.exists()
