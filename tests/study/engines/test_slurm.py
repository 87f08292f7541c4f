import shlex
import shutil
import signal
import subprocess
import time
from dataclasses import replace
from pathlib import Path

import pytest

from quatrain.specs import StudyError
from quatrain.study.engines import STOPPED, JobState, NoAnswerError, Slurm, Workers

NAME = "quatrain-a-1f3a9c20"


@pytest.fixture
def programs(tmp_path, monkeypatch):
    """Write programs in place of Slurm's, each a line of shell; they log how they were called."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name in ("sh", "cat", "sleep"):
        (folder / name).symlink_to(shutil.which(name))
    monkeypatch.setenv("PATH", str(folder))

    def write(**lines):
        for name, line in lines.items():
            path = folder / name
            log = f'echo "$@" >> {shlex.quote(str(tmp_path / name))}'
            path.write_text(f"#!/bin/sh\n{log}\n{line}\n")
            path.chmod(0o755)
        return tmp_path

    return write


@pytest.fixture
def some(tmp_path):
    """Four workers."""
    return Workers(study=Path("a.py"), out=tmp_path / "100%", count=4, threads=2, num_workers=1)


@pytest.fixture
def script(programs, some):
    """A function that returns the script of a job whose workers execute a program of Python."""

    def write(code):
        logs = programs(sbatch="cat > ${0%/*}/script; echo 12", scontrol="")
        Slurm().start(replace(some, program=(*Workers.program[:1], "-c", code)), NAME)
        return logs / "bin" / "script"

    return write


def options_of(logs):
    return set(shlex.split((logs / "sbatch").read_text()))


def test_a_job_is_an_array_with_a_task_per_worker(programs, some):
    logs = programs(sbatch="cat > ${0%/*}/script; echo '12;cluster'")
    assert Slurm(("partition=gpu", "time=8:00:00")).start(some, NAME) == "12"
    assert options_of(logs) == {
        "--parsable", f"--job-name={NAME}", "--array=0-3", "--ntasks=1", "--cpus-per-task=3",
        "--requeue", "--open-mode=append", "--signal=B:USR1@120", "--partition=gpu",
        f"--output={some.out}%/logs/slurm-%A_%a.out", "--time=8:00:00",
    }  # fmt: skip
    assert shlex.join(some.command()) in (logs / "bin" / "script").read_text()
    assert (some.out / "logs").is_dir()


def test_a_worker_gets_a_gpu_and_cpus_for_each_process_that_trains_a_run(programs, some):
    logs = programs(sbatch="echo 12")
    Slurm().start(replace(some, device="cuda:0", processes=2), NAME)
    assert {"--gres=gpu:2", "--cpus-per-task=6", "--ntasks=1"} <= options_of(logs)


def test_each_worker_gets_one_gpu_unless_options_say_which(programs, some):
    on_gpu = replace(some, device="cuda:0")
    logs = programs(sbatch="echo 12")
    Slurm().start(on_gpu, NAME)
    assert "--gres=gpu:1" in options_of(logs)
    (logs / "sbatch").unlink()
    Slurm(("gpus-per-task=h100:1",)).start(on_gpu, NAME)
    assert not any(option.startswith("--gres") for option in options_of(logs))


PARTITIONS = """\
PartitionName=main AllocNodes=ALL Default=YES MaxTime=2-00:30:30 State=UP
PartitionName=short AllocNodes=ALL Default=NO MaxTime=01:00:00 State=UP
PartitionName=free AllocNodes=ALL Default=NO MaxTime=UNLIMITED State=UP
PartitionName=tiny AllocNodes=ALL Default=NO MaxTime=00:00:30 State=UP
"""


@pytest.mark.parametrize(
    ("options", "seconds", "minutes"),
    [
        ((), 61.0, 2),
        ((), 1e9, 48 * 60 + 30),
        (("partition=short",), 1e9, 60),
        (("partition=free",), 6e9, 100_000_000),
        (("partition=free,short",), 1e9, 60),
        (("partition=short", "partition=free"), 6e9, 100_000_000),
        (("partition=unknown",), 60.0, None),
        (("partition=tiny",), 60.0, None),
        (("signal=B:USR1@600",), 60.0, 9),
        (("signal=B:USR1@600", "signal=USR1@60"), 60.0, 1),
        (("signal=B:USR1",), 60.0, 1),
        (("time=5",), 60.0, None),
        ((), None, None),
    ],
)
def test_the_time_limit_is_at_most_that_of_the_partition(programs, options, seconds, minutes):
    programs(scontrol=f"echo '{PARTITIONS}'")
    assert Slurm(options).time_limit(seconds) == minutes


def test_the_environment_chooses_limit_and_partition_as_for_sbatch(programs, monkeypatch):
    programs(scontrol=f"echo '{PARTITIONS}'")
    monkeypatch.setenv("SBATCH_PARTITION", "short")
    assert Slurm().time_limit(1e9) == 60
    monkeypatch.setenv("SBATCH_TIMELIMIT", "7")
    assert Slurm().time_limit(1e9) is None


@pytest.mark.parametrize("answer", ["exit 1", "echo", "echo 'PartitionName=main Default=YES'"])
def test_no_time_limit_is_requested_if_that_of_the_partition_is_unknown(programs, answer):
    programs(scontrol=answer)
    assert Slurm().time_limit(60.0) is None


def test_workers_of_known_duration_are_submitted_with_a_time_limit(programs, some):
    logs = programs(sbatch="echo 12", scontrol=f"echo '{PARTITIONS}'")
    Slurm().start(replace(some, seconds=5400.0), NAME)
    assert "--time=90" in options_of(logs)
    (logs / "sbatch").unlink()
    Slurm(("time=5",)).start(replace(some, seconds=5400.0), NAME)
    assert {option for option in options_of(logs) if "time" in option} == {"--time=5"}


@pytest.mark.parametrize("option", ["--partition=gpu", "partition gpu", "", "array=0-9", "wrap=ls"])
def test_options_are_checked_before_anything_is_submitted(option):
    with pytest.raises(StudyError) as error:
        Slurm((option,))
    assert error.value.field == "--slurm"


def test_a_refused_job_is_one_sentence_with_the_message_of_slurm(programs, some):
    message = "sbatch: error: Batch job submission failed: Invalid partition name specified"
    programs(sbatch=f"echo '{message}' >&2; exit 1", squeue="")
    with pytest.raises(StudyError) as error:
        Slurm().start(some, NAME)
    assert not isinstance(error.value, NoAnswerError)
    assert str(error.value) == (
        "Slurm did not submit the job (Invalid partition name specified); correct the options of "
        "--slurm, or use fewer --jobs, and submit again"
    )


def test_a_job_that_was_submitted_although_sbatch_failed_is_found_by_its_name(programs, some):
    programs(sbatch="exit 1", squeue=f"echo '12|{NAME}|PENDING|None'")
    assert Slurm().start(some, NAME) == "12"
    programs(sbatch="exec sleep 30")
    before = time.monotonic()
    assert Slurm(seconds=0.5).start(some, NAME) == "12"
    assert time.monotonic() - before < 20


def test_without_an_answer_the_job_may_exist(programs, some):
    programs(sbatch="echo 'Socket timed out' >&2; exit 1", squeue="exit 1")
    with pytest.raises(NoAnswerError) as error:
        Slurm().start(some, NAME)
    assert f"the job {NAME} may have been submitted" in str(error.value)


def test_the_state_of_a_job_counts_its_workers(programs):
    tasks = [f"12|{NAME}|RUNNING|None", f"12|{NAME}|PENDING|(Nodes DOWN | DRAINED)"]
    tasks += [f"12|{NAME}|COMPLETING|None", "7|other|PENDING|Priority"]
    logs = programs(squeue="\n".join(f"echo '{task}'" for task in tasks))
    assert Slurm().states([NAME, "other"]) == {
        NAME: JobState("12", waiting=1, running=2, reason="(Nodes DOWN | DRAINED)"),
        "other": JobState("7", waiting=1, reason="Priority"),
    }
    assert f"--name={NAME},other" in (logs / "squeue").read_text()
    assert Slurm().states([]) == {}


def test_a_job_is_cancelled_by_its_name(programs):
    logs = programs(scancel="")
    Slurm().cancel([NAME])
    assert (logs / "scancel").read_text() == f"--name={NAME}\n"


def test_cancelled_jobs_are_those_with_a_cancelled_task(programs):
    tasks = [f"12|{NAME}|CANCELLED|None", f"12|{NAME}|CANCELLED|None"]
    logs = programs(squeue="\n".join(f"echo '{task}'" for task in tasks))
    assert Slurm().cancelled([NAME, "other"]) == {NAME}
    assert "--states=CANCELLED" in shlex.split((logs / "squeue").read_text())
    assert Slurm().cancelled([]) == set()


def test_errors_of_squeue_and_missing_programs_are_one_sentence(programs, some):
    programs(squeue="echo 'slurm_load_jobs error: no route' >&2; exit 1")
    with pytest.raises(NoAnswerError, match=r"Slurm does not answer \(no route\)"):
        Slurm().states([NAME])
    with pytest.raises(StudyError, match="scancel is not on this machine"):
        Slurm().cancel([NAME])
    with pytest.raises(StudyError, match="sbatch is not on this machine"):
        Slurm().start(some, NAME)


WORKER = """\
import signal, sys, time
signal.signal(signal.SIGUSR1, lambda *_: sys.exit({status}))
print("ready", flush=True)
time.sleep(30)
"""


@pytest.mark.parametrize(("status", "is_requeued"), [(STOPPED, True), (0, False)])
def test_a_task_is_queued_again_if_its_time_ended_in_the_middle_of_a_run(
    script, tmp_path, status, is_requeued
):
    environment = {"SLURM_JOB_ID": "14", "PATH": str(tmp_path / "bin")}
    command = ["sh", str(script(WORKER.format(status=status)))]
    task = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
    assert task.stdout.readline() == "ready\n"
    task.send_signal(signal.SIGUSR1)
    task.communicate()
    assert task.returncode == status
    assert (tmp_path / "scontrol").exists() is is_requeued
    if is_requeued:
        assert (tmp_path / "scontrol").read_text() == "requeue 14\n"


@pytest.mark.parametrize(
    ("code", "status"),
    [("raise SystemExit(75)", 75), ("import os; os.kill(os.getpid(), 9)", 128 + 9)],
)
def test_the_status_of_a_task_is_that_of_its_worker(script, tmp_path, code, status):
    command = ["sh", str(script(code))]
    assert subprocess.run(command, check=False, stderr=subprocess.PIPE).returncode == status
    assert not (tmp_path / "scontrol").exists()
