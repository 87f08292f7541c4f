"""Workers as detached actors of Ray.

    Ray(("num_gpus=0.5",)).start(workers, "quatrain-coco-1f3a9c20")

Each worker is an actor that executes the command of the worker as a child process, with its
threads as CPUs, and one GPU for each process that trains if the device is one. The cluster is that
of RAY_ADDRESS, or else the one that runs on this machine; its address is stored with each job, and
later calls for the job are made there. Each call is a short process of
`ray_driver`: this process neither imports Ray nor ends with its cluster.
"""

import importlib.util
import json
import os
import re
import subprocess
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar

from quatrain.specs import StudyError
from quatrain.specs.errors import shorten
from quatrain.specs.extras import missing_package
from quatrain.study.engines.engine import JobState, NoAnswerError, NoClusterError, Workers
from quatrain.study.engines.slurm import LOGS
from quatrain.study.pool import WORKER

ADDRESS = "RAY_ADDRESS"
"""Ray's environment variable with the address of the cluster."""

_AUTHENTICATION = "RAY_AUTH_MODE"
"""With the value "token" Ray keeps other users away; its token is in ~/.ray/auth_token."""

_DRIVER = (*WORKER[:-1], "quatrain.study.engines.ray_driver")
_SECONDS = 120.0
"""Seconds until a driver that does not answer is ended."""

_STOP_SECONDS = 60.0
_LONGEST_REASON = 200
_ENVIRONMENT = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_worker_niceness": "0",  # of a local cluster; by default its workers have a low priority
    "RAY_NUM_REDIS_GET_RETRIES": "1",  # by default a lost cluster is waited for for minutes
    "RAY_gcs_rpc_server_reconnect_timeout_s": "15",
}
_AMOUNT = re.compile(r"([A-Za-z][\w.:-]*)=([0-9]{1,18}(?:\.[0-9]{1,4})?)", re.ASCII)
_ARGUMENTS = ("num_cpus", "num_gpus", "memory")


class Ray:
    """An engine that starts detached actors; options are amounts of resources of each worker.

    Args:
        options: such as "num_gpus=0.5", "num_cpus=4", "memory=8000000000" (bytes), or an amount of
            a custom resource of the cluster, "a100=1"; they replace the defaults.
        seconds: after this time a driver that does not answer is ended.
        address: the address of the cluster; None for that of the environment, or of this machine.

    Raises:
        StudyError: if an option has the wrong form.
    """

    name: ClassVar[str] = "ray"

    def __init__(
        self,
        options: Sequence[str] = (),
        seconds: float = _SECONDS,
        address: str | None = None,
    ) -> None:
        self._amounts = dict(map(_amount, options))
        self._seconds, self._address = seconds, address

    def has_cluster(self) -> bool:
        """Whether a cluster answers; with RAY_ADDRESS it must.

        Raises:
            NoClusterError: if RAY_ADDRESS is set, and no cluster answers there.
        """
        if self._address is None and _address() == "local":
            return False
        try:
            self.address()
        except NoClusterError:
            if os.environ.get(ADDRESS):
                raise
            return False
        return True

    def address(self) -> str:
        """The address of the cluster, which answers there.

        Raises:
            NoClusterError: if no cluster answers.
            NoAnswerError: if it is not known whether there is one.
        """
        if self._address is None:
            self._address = str(self._call("find", {})["address"])
        return self._address

    def start(self, workers: Workers, name: str) -> str:
        """Start the actors; the id is the name.

        Raises:
            NoClusterError: if no cluster answers.
            NoAnswerError: if the cluster stopped to answer.
            StudyError: if the first worker does not start.
        """
        (workers.out / LOGS).mkdir(parents=True, exist_ok=True)
        request = {
            "name": name,
            "count": workers.count,
            "command": workers.command(),
            "folder": str(Path.cwd()),
            "logs": str(workers.out / LOGS),
            "resources": self._resources(workers),
        }
        try:
            self._call("start", request)
        except NoAnswerError as error:
            message = f"{error}, and workers of the job {name} may have been started; submit again"
            raise NoAnswerError(f"{message} when Ray answers, which finds them", "ray") from error
        return name

    def states(self, names: Sequence[str]) -> Mapping[str, JobState]:
        """The jobs with workers that wait or run."""
        if not names:
            return {}
        states = self._call("states", {"names": list(names)})["states"]
        return {name: JobState(name, **state) for name, state in states.items()}

    def cancel(self, names: Sequence[str]) -> None:
        """Ask the workers of these jobs to stop; each ends after it has written a checkpoint."""
        self._call("cancel", {"names": list(names)})

    def cancelled(self, names: Sequence[str]) -> set[str]:
        """No job: Ray forgets the actors that were killed by another program."""
        del names
        return set()

    def time_limit(self, seconds: float | None) -> int | None:
        """No minutes: actors have no time limit."""
        del seconds

    def _resources(self, workers: Workers) -> dict[str, Any]:
        """The arguments of `ray.remote` for the resources of one worker."""
        amounts: dict[str, float] = {
            "num_cpus": workers.cpus,
            "num_gpus": workers.gpus,
            **self._amounts,
        }
        arguments: dict[str, Any] = {key: amounts.pop(key) for key in _ARGUMENTS if key in amounts}
        return {**arguments, "resources": amounts}

    def _call(self, command: str, request: Mapping[str, Any]) -> dict[str, Any]:
        """The answer of a driver."""
        _check_installed()
        address = self._address or _address()
        if address == "local":
            message = f"{ADDRESS}=local has no running cluster; unset it, or set an address"
            raise NoClusterError(message, "ray")
        try:
            output = subprocess.run(
                (*_DRIVER, command),
                input=json.dumps({"address": address, **request}),
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                text=True,
                check=False,
                timeout=self._seconds,
                env={**os.environ, **_ENVIRONMENT},
            ).stdout
        except subprocess.TimeoutExpired as error:
            output = error.stdout or ""
            output = output.decode() if isinstance(output, bytes) else output
        answers = [json.loads(line) for line in output.splitlines()]
        if not answers:
            message = f"Ray gave no answer {_place(address)} within {self._seconds:g} s, or its "
            raise NoAnswerError(f"{message}driver was ended; try again later", "ray")
        if "error" in answers[0]:
            raise _no_cluster(address, answers[0]["error"])
        if len(answers) == 1:
            raise NoAnswerError("the Ray cluster stopped to answer", "ray")
        if "error" in answers[1]:
            message = f"Ray did not {command} the job ({_short(answers[1]['error'])}); the study, "
            raise StudyError(
                f"{message}--out and this Python must be on a disk that all nodes share", "--on"
            )
        return answers[1]


@contextmanager
def local_cluster() -> Generator[None]:
    """In the block, RAY_ADDRESS is that of a cluster of this machine, which ends with the block.

    Its workers stop with a checkpoint, also if this process is killed.

    Raises:
        StudyError: if the cluster does not start.
    """
    _check_installed()
    before = {key: os.environ.get(key) for key in (ADDRESS, _AUTHENTICATION)}
    os.environ.setdefault(_AUTHENTICATION, "token")
    process = subprocess.Popen(
        (*_DRIVER, "cluster"),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env={**os.environ, **_ENVIRONMENT},
        start_new_session=True,  # Ctrl-C does not end it
    )
    try:
        answer = json.loads(process.stdout.readline() or "{}") if process.stdout else {}
        if "address" not in answer:
            reason = _short(answer.get("error", "no answer"))
            message = f"no local Ray cluster starts ({reason}); start one by `ray start --head`"
            raise StudyError(message, "--on")
        os.environ[ADDRESS] = answer["address"]
        yield
    finally:
        for key, value in before.items():
            os.environ.pop(key, None)
            if value is not None:
                os.environ[key] = value
        _end(process)


def _end(process: "subprocess.Popen[str]") -> None:
    """Let the workers of a local cluster stop; a second Ctrl-C does not wait."""
    try:
        if process.stdin is not None:
            process.stdin.close()
        process.wait(_STOP_SECONDS)
    except subprocess.TimeoutExpired:
        pass
    finally:
        process.kill()
        process.wait()
        if process.stdout is not None:
            process.stdout.close()


def _address() -> str:
    return os.environ.get(ADDRESS) or "auto"


def _check_installed() -> None:
    if importlib.util.find_spec("ray") is None:
        error = missing_package("ray")
        if error is not None:
            raise error


def _no_cluster(address: str, reason: str) -> NoClusterError:
    message = f"no Ray cluster answers {_place(address)} ({_short(reason)}); start one by "
    return NoClusterError(f"{message}`ray start --head`, or set {ADDRESS}", "ray")


def _place(address: str) -> str:
    return "on this machine" if address == "auto" else f"at {shorten(address)}"


def _short(reason: str) -> str:
    return reason[:_LONGEST_REASON].strip().rstrip(".")


def _amount(option: str) -> tuple[str, float]:
    """The resource and the amount of an option: ("num_gpus", 0.5)."""
    parts = _AMOUNT.fullmatch(option)
    if parts is None:
        message = f"--ray {shorten(option)} is no amount of a resource; write KEY=NUMBER, such as "
        raise StudyError(message + "num_gpus=0.5", "--ray")
    amount = float(parts[2])
    return parts[1], int(amount) if amount.is_integer() else amount
