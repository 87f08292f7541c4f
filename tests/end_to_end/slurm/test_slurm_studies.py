"""Studies on a real Slurm cluster of two nodes, which runs on this machine."""

import json
import signal
import threading
from pathlib import Path

import pytest

from fake.slurm_cluster import diaries
from quatrain.cli import cluster as cli
from quatrain.results import ResultStore, RunState
from quatrain.specs import StudyError
from quatrain.study import load_study
from quatrain.study.engines import NoAnswerError, Workers, stored_jobs

FAKE = Path(__file__).parents[2] / "fake"

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("slurm")]


def cells(count, **fields):
    more = "".join(f", {name}={value!r}" for name, value in fields.items())
    return f"[cell(str(n), weight=n + 1{more}) for n in range({count})]"


def states(out, path):
    store = ResultStore(out)
    return [store.state(run.identity) for run in load_study(path).select()]


def test_a_study_of_24_runs_over_two_nodes_executes_each_once(call, write_study, out):
    path = write_study(cells(12, trouble="slow"))
    done = call("run", path, "--out", out, "--on", "slurm", "--jobs", "4")
    assert done.exit_code == 0, done.output
    assert "Submitted slurm job" in done.output
    assert "4 workers for 24 runs" in done.output
    assert "24 done now, 0 before, 0 failed." in done.output
    starts = diaries(out)
    assert len(starts) == 24
    assert all(len(lines) == 1 and lines[0].startswith("from 0 ") for lines in starts.values())
    assert len({lines[0].split(" in ")[1] for lines in starts.values()}) == 4  # workers
    (job,) = json.loads((out / "jobs.json").read_text())["jobs"]
    assert job["id"].isdigit()
    assert (out / "report" / "report.html").exists()


def test_cancelled_runs_are_completed_by_a_second_submission(call, cluster, write_study, out):
    path = write_study(cells(3, trouble="slow", steps=30))
    first = json.loads(call("submit", path, "--out", out, "--jobs", "2", "--json").output)
    assert (first["job"]["workers"], first["active"], first["runs_left"]) == (2, [], 6)
    cluster.wait_until(lambda: len(diaries(out)) >= 2)
    assert "workers run" in call("status", out).output
    assert call("cancel", out).output == (
        f"Cancelled slurm job {first['job']['id']} (2 workers run).\n"
    )
    cluster.wait_until(lambda: not cluster.queue())
    assert call("cancel", out).output == "No job is active: 1 job ended.\n"
    assert RunState.DONE not in states(out, path)
    assert "4 workers for 6 runs" in call("submit", path, "--out", out, "--jobs", "4").output
    again = call("submit", path, "--out", out, "--jobs", "4", "--cells", "0")
    assert "No worker was submitted; 2 runs left: they share the runs." in again.output
    assert call("watch", out, "--every", "0.2").exit_code == 0
    assert states(out, path) == [RunState.DONE] * 6


def test_scancel_ends_a_study_that_watches_its_job(call, cluster, write_study, out):
    path = write_study(cells(2, trouble="slow", steps=1000), "(0,)")

    def cancel():
        cluster.wait_until(lambda: len(diaries(out)) == 2)
        cluster.call("scancel", "--user=root")

    canceller = threading.Thread(target=cancel)
    canceller.start()
    with pytest.raises(StudyError, match="2 runs left, and the job was cancelled"):
        call("run", path, "--out", out, "--on", "slurm")
    canceller.join()
    assert len(stored_jobs(ResultStore(out))) == 1


def test_workers_of_known_duration_have_a_time_limit(call, cluster, write_study, out):
    path = write_study(cells(2, trouble="slow"), "(0,)")
    assert call("run", path, "--out", out, "--on", "slurm").exit_code == 0
    path = write_study(cells(2, trouble="slow"), "range(40)")
    cluster.wait_until(lambda: not cluster.queue())
    options = ("--out", out, "--on", "slurm", "--jobs", "2", "--json")
    planned = json.loads(call("plan", path, *options).output)["submission"]
    submitted = json.loads(call("submit", path, *options).output)
    minutes = submitted["time_limit_minutes"]
    assert planned["time_limit_minutes"] == minutes >= 11
    limits = cluster.call("squeue", "-h", "-r", "-o", "%l").split()
    assert limits == [f"{minutes}:00"] * 2
    call("cancel", out)


def test_a_refused_job_is_one_sentence(call, write_study, out):
    path = write_study(cells(24), "(0,)")
    for options, reason in [
        (("--jobs", 24), "Invalid job array specification"),
        (("--slurm", "partition=nope"), "invalid partition specified: nope"),
        (("--slurm", "time=abc"), "Invalid --time specification"),
        (("--slurm", "nope=1"), "unrecognized option '--nope=1'"),
        (("--device", "cuda:0"), "Invalid generic resource (gres) specification"),
    ]:
        with pytest.raises(StudyError) as error:
            call("submit", path, "--out", out, "--jobs", 2, *options)
        assert f"Slurm did not submit the job ({reason}" in str(error.value)
        assert stored_jobs(ResultStore(out)) == ()


def test_a_job_whose_submission_timed_out_is_found_by_the_next_one(call, cluster, write_study, out):
    path = write_study(cells(4, trouble="slow"), "(0,)")
    cluster.processes["slurmctld"].send_signal(signal.SIGSTOP)
    with pytest.raises(NoAnswerError) as error:
        call("submit", path, "--out", out)
    assert "may have been submitted" in str(error.value)
    cluster.processes["slurmctld"].send_signal(signal.SIGCONT)
    cluster.wait_until(cluster.queue)
    again = call("run", path, "--out", out, "--on", "slurm")
    assert "No worker was submitted; 4 runs left: they share the runs." in again.output
    assert "4 done now" in again.output
    assert all(len(lines) == 1 for lines in diaries(out).values())


def test_without_a_controller_nothing_is_submitted(call, cluster, write_study, out):
    path = write_study(cells(1), "(0,)")
    cluster.kill("slurmctld", signal.SIGTERM)  # it saves its state
    with pytest.raises(NoAnswerError) as error:
        call("submit", path, "--out", out)
    assert "(Unable to contact slurm controller (connect failure))" in str(error.value)
    status = call("status", out).output
    assert "The state of the jobs is unknown: Slurm does not answer" in status
    cluster.start_controller()
    cluster.wait_until(lambda: "UP" in cluster.call("scontrol", "ping"))
    assert "1 worker for 1 run" in call("submit", path, "--out", out).output
    assert call("watch", out, "--every", "0.2").exit_code == 0


def test_workers_that_end_before_the_runs_end_the_command_with_their_last_output(
    call, write_study, out
):
    path = write_study(cells(2, trouble="data"), "(0,)")
    with pytest.raises(StudyError) as error:
        call("run", path, "--out", out, "--on", "slurm")
    assert "2 runs left, and no job is active; run the command again (" in str(error.value)
    assert "Error: the task reads data; pass --data" in str(error.value)


def test_a_cell_that_fails_is_executed_once_and_again_on_request(call, write_study, out):
    path = write_study("[cell('bad', trouble='error'), cell('good')]")
    for options in ((), ("--retry", "failed")):
        done = call("run", path, "--out", out, "--on", "slurm", *options)
        assert done.exit_code == 1
        assert "the loss has no value" in done.output
    assert sorted(map(len, diaries(out).values())) == [1, 1, 2, 2]


TORCH_STUDY = """

study = Study(
    title="Two seeds", question="Do they end?", metric="accuracy", seeds=(0, 1),
    cells=[Cell(name="a", group="one", spec=TinySpec())],
)
"""


def test_workers_that_train_with_torch(call, monkeypatch, tmp_path, out):
    monkeypatch.setattr(cli, "PROGRAM", Workers.program)
    path = tmp_path / "tiny.py"
    path.write_text((FAKE / "torch_study.py").read_text() + TORCH_STUDY)
    done = call("run", path, "--out", out, "--on", "slurm")
    assert "2 done now, 0 before, 0 failed." in done.output
    assert len(list(out.glob("runs/*/model.safetensors"))) == 2
