"""Workers as one array job of Slurm.

    Slurm(("partition=gpu", "time=8:00:00")).start(workers, "quatrain-coco-1f3a9c20")

The array has one task per worker (`--ntasks=1`), with as many CPUs as its processes have threads,
and one GPU for each process that trains if the device is one. Slurm starts a task again after its
node failed or it was pre-empted (`--requeue`). Before the time limit it sends SIGUSR1 to the
script, which sends it to the worker and puts the task into the queue again if the worker stopped in
the middle of a run.

The time limit is `Workers.seconds`, at most that of the partition. An option or SBATCH_TIMELIMIT
replaces it; without any of them it is the default of the partition.

Only sbatch, squeue, scancel and scontrol are called: no database of accounting is needed.
"""

import math
import os
import re
import shlex
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import ClassVar

from quatrain.specs import StudyError
from quatrain.specs.errors import shorten
from quatrain.study.engines.engine import JobState, NoAnswerError, Workers

STOPPED = 75
"""The exit status of a worker that a signal stopped before its runs were done: EX_TEMPFAIL."""

LOGS = "logs"
"""The folder of the output of workers, in the folder of results."""

SIGNAL_SECONDS = 120
"""Seconds between SIGUSR1 and the time limit, which every time limit includes."""

_SECONDS = 120.0
"""Seconds until a command of Slurm that does not answer is ended."""

_SCRIPT = """\
#!/bin/sh
{command} &
worker=$!
limit=no
trap 'limit=yes; kill -USR1 "$worker"' USR1
trap : TERM  # Slurm sends it to the worker, too
status=129
while [ "$status" -gt 128 ] && kill -0 "$worker" 2>/dev/null; do
  wait "$worker"
  status=$?
done
# If a signal interrupted the last `wait`, this one has the worker's status; 127 says it has none.
wait "$worker"
last=$?
[ "$last" -ne 127 ] && status=$last
if [ "$limit" = yes ] && [ "$status" -eq {stopped} ]; then
  scontrol requeue "$SLURM_JOB_ID"
fi
exit "$status"
"""

_OPTION = re.compile(r"[a-z][a-z0-9-]*(=.*)?", re.DOTALL)
_RESERVED = {
    "array": "use --jobs for the number of workers",
    "job-name": "jobs are found by the name that quatrain gives them",
    "ntasks": "each worker is one task",
    "parsable": "quatrain sets it",
    "wrap": "the script is quatrain's",
}
_GPU_OPTIONS = {"gres", "gpus", "gpus-per-node", "gpus-per-socket", "gpus-per-task"}


class Slurm:
    """An engine that submits one array job; options are those of sbatch, without the dashes.

    Args:
        options: such as "partition=gpu", "gres=gpu:1", "exclusive"; they replace the defaults.
        seconds: after this time a command of Slurm that does not answer is ended.

    Raises:
        StudyError: if an option has the wrong form, or is one that quatrain sets.
    """

    name: ClassVar[str] = "slurm"

    def __init__(self, options: Sequence[str] = (), seconds: float = _SECONDS) -> None:
        for option in options:
            _check(option)
        self._options = tuple(options)
        self._seconds = seconds

    def address(self) -> None:
        """None: the programs of Slurm know their cluster."""

    def start(self, workers: Workers, name: str) -> str:
        """Submit the array job; return its id.

        If sbatch fails, the job is looked up by its name: after a timeout it may exist.
        """
        script = _SCRIPT.format(command=shlex.join(workers.command()), stopped=STOPPED)
        (workers.out / LOGS).mkdir(parents=True, exist_ok=True)
        try:
            output = self._call(["sbatch", *self._arguments(workers, name)], script)
            return output.strip().split(";")[0]
        except StudyError as error:
            job = self._find(name, error)
            if job is not None:
                return job
            message = f"Slurm did not submit the job ({error}); correct the options of --slurm, "
            raise StudyError(message + "or use fewer --jobs, and submit again", "--slurm") from None

    def states(self, names: Sequence[str]) -> Mapping[str, JobState]:
        """The jobs that wait or run; one call of squeue."""
        states: dict[str, JobState] = {}
        for number, name, state, reason in self._queue(names):
            job = states.get(name, JobState(number))
            if state == "PENDING":
                states[name] = replace(job, waiting=job.waiting + 1, reason=job.reason or reason)
            else:
                states[name] = replace(job, running=job.running + 1)
        return states

    def cancelled(self, names: Sequence[str]) -> set[str]:
        """The jobs of which a task was cancelled, for MinJobAge seconds (300) after its end."""
        return {name for _, name, _, _ in self._queue(names, "--states=CANCELLED")}

    def cancel(self, names: Sequence[str]) -> None:
        """Cancel the tasks of these jobs that have not ended."""
        for name in names:
            self._call(["scancel", f"--name={name}"])

    def time_limit(self, seconds: float | None) -> int | None:
        """The minutes of `--time` for workers that may need this time; None for no request.

        More than the partition allows would wait in its queue for ever, so that limit is the
        largest request; and nothing is requested if it is unknown, or below a minute.
        """
        keys = {option.partition("=")[0] for option in self._options}
        if seconds is None or "time" in keys or "SBATCH_TIMELIMIT" in os.environ:
            return None
        longest = self._longest_minutes() or 0
        needed = math.ceil((seconds + self._more_signal_seconds()) / 60)
        return int(min(needed, longest)) or None

    def _more_signal_seconds(self) -> int:
        """The seconds by which an option sends the signal earlier than by default."""
        signal = ""
        for option in self._options:
            key, _, value = option.partition("=")
            signal = value if key == "signal" else signal  # of two, the later holds
        seconds = signal.partition("@")[2]
        return max(0, int(seconds) - SIGNAL_SECONDS) if seconds.isdecimal() else 0

    def _longest_minutes(self) -> float | None:
        """The least MaxTime of the partitions of the job; None if Slurm does not tell it."""
        names = os.environ.get("SBATCH_PARTITION", "")
        for option in self._options:
            key, _, value = option.partition("=")
            names = value if key == "partition" else names
        try:
            output = self._call(["scontrol", "show", "partition", "--oneliner"])
        except StudyError:
            return None
        limits: list[float | None] = []
        for line in output.splitlines():
            pairs = (word.partition("=") for word in line.split())
            fields = {key: value for key, _, value in pairs}
            is_default = not names and fields.get("Default") == "YES"
            if is_default or fields.get("PartitionName") in names.split(","):
                limits.append(_minutes(fields.get("MaxTime", "")))
        known = [limit for limit in limits if limit is not None]
        return min(known) if known and len(known) == len(limits) else None

    def _arguments(self, workers: Workers, name: str) -> list[str]:
        own = {
            "parsable": None,
            "job-name": name,
            "array": f"0-{workers.count - 1}",
            "ntasks": "1",
            "cpus-per-task": str(workers.cpus),
            "requeue": None,
            "open-mode": "append",
            "signal": f"B:USR1@{SIGNAL_SECONDS}",
            "output": f"{workers.out / LOGS}/".replace("%", "%%") + "slurm-%A_%a.out",
        }
        keys = {option.partition("=")[0] for option in self._options}
        if workers.gpus and not keys & _GPU_OPTIONS:
            own["gres"] = f"gpu:{workers.gpus}"
        limit = self.time_limit(workers.seconds)
        if limit is not None:
            own["time"] = str(limit)
        options = [key if value is None else f"{key}={value}" for key, value in own.items()]
        return [f"--{option}" for option in (*options, *self._options)]  # of two, the later holds

    def _find(self, name: str, failure: StudyError) -> str | None:
        """The id of the job `name` after sbatch failed; None if it does not exist."""
        if isinstance(failure, _MissingProgramError):
            raise failure
        try:
            lines = self._queue([name])
        except NoAnswerError as error:
            message = (
                f"Slurm does not answer ({failure}), and the job {name} may have been submitted; "
                "submit again when Slurm answers, which finds that job"
            )
            raise NoAnswerError(message, "slurm") from error
        return lines[0][0] if lines else None

    def _queue(self, names: Sequence[str], *options: str) -> list[tuple[str, str, str, str]]:
        """Id, name, state and reason of each task of these jobs; by default of the active ones."""
        if not names:
            return []
        arguments = ["--noheader", "--array", "--format=%F|%j|%T|%r", f"--name={','.join(names)}"]
        try:
            output = self._call(["squeue", *arguments, *options])
        except _MissingProgramError:
            raise
        except StudyError as error:
            message = f"Slurm does not answer ({error}); try again later"
            raise NoAnswerError(message, "slurm") from error
        tasks: list[tuple[str, str, str, str]] = []
        for line in output.splitlines():
            job, name, state, reason = line.split("|", 3)
            tasks.append((job, name, state, reason))
        return tasks

    def _call(self, command: Sequence[str], script: str = "") -> str:
        """The output of a program of Slurm; StudyError with its errors if it fails."""
        try:
            done = subprocess.run(
                command,
                input=script,
                capture_output=True,
                text=True,
                check=False,
                timeout=self._seconds,
            )
        except FileNotFoundError as error:
            message = f"{command[0]} is not on this machine; use a machine of a Slurm cluster"
            raise _MissingProgramError(message, "slurm") from error
        except subprocess.TimeoutExpired as error:
            message = f"{command[0]} did not end within {self._seconds:g} s"
            raise StudyError(message, "slurm") from error
        if done.returncode != 0:
            raise StudyError(_errors(done.stderr) or f"{command[0]} failed", "slurm")
        return done.stdout


class _MissingProgramError(StudyError):
    """A machine without the programs of Slurm."""


def _check(option: str) -> None:
    """Check one option of sbatch."""
    key = option.partition("=")[0]
    if _OPTION.fullmatch(option) is None:
        message = f"--slurm {shorten(option)} is no option of sbatch; write KEY=VALUE, such as "
        raise StudyError(message + "partition=gpu", "--slurm")
    if key in _RESERVED:
        raise StudyError(f"--slurm {key} cannot be set; {_RESERVED[key]}", "--slurm")


def _minutes(text: str) -> float | None:
    """The minutes of a time as scontrol writes it: "1-02:30:00", "00:30:00" or "UNLIMITED"."""
    if text in {"UNLIMITED", "INFINITE"}:
        return math.inf
    parts = re.fullmatch(r"(?:(\d+)-)?(\d+):(\d\d):(\d\d)", text, re.ASCII)
    if parts is None:
        return None
    days, hours, minutes, seconds = (int(part or 0) for part in parts.groups())
    return 1440 * days + 60 * hours + minutes + seconds // 60


def _errors(text: str) -> str:
    """The errors in the output of a program: 'Invalid partition name specified'."""
    lines = [line for line in text.splitlines() if line.strip()]
    pattern = re.compile(r"error: (?:Batch job submission failed: )?(.*)")
    errors = [found[1] for found in map(pattern.search, lines) if found]
    return "; ".join(errors) or re.sub(r"^\w+: ", "", "".join(lines[:1]))
