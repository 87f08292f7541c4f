"""A program that connects to a Ray cluster, does one thing, and ends: a driver of Ray.

    python -m quatrain.study.engines.ray_driver states < request.json

Each call is a process of its own, as those of `squeue` are: Ray ends a driver whose cluster is
lost, and prints. A request is JSON on stdin; the answer is two lines of JSON, the first of which
says that the cluster has answered. An error is a line `{"error": TEXT}`.

Workers are detached actors, NAME-0, NAME-1, ... for a job NAME, in a namespace of their own. Ray
starts an actor again if its process or its node has failed.
"""

import json
import logging
import os
import re
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any

NAMESPACE = "quatrain"
"""Ray's namespace of the names of actors."""

RESTARTS = 5
"""How often Ray starts a worker again whose process or node has failed."""

_SCRIPT = """\
exec 3<&0
"$@" </dev/null 3<&- &
worker=$!
# The end of stdin is the request to stop: the actor closes it, or has ended.
{ read -r _; kill -TERM "$worker"; } <&3 3<&- 2>/dev/null &
reader=$!
exec 3<&-
wait "$worker"
status=$?
kill -KILL "$reader"
exit "$status"
"""

_FINAL = {0, 2}
"""Exit statuses after which a worker is not started again: no run left, and data or disk."""

_FIRST_SECONDS = 5.0
"""Seconds in which a new job is watched for an error of its first worker."""

_ANSWER_SECONDS = 2.0
"""Seconds after which an actor that does not answer counts as waiting."""

_STOP_SECONDS = 45.0
"""Seconds after which a worker that was asked to stop is killed."""

_CONNECT_SECONDS = 10.0


class Worker:
    """An actor that executes the command of a worker in a child process.

    The child process stops with a checkpoint if this process ends in any way. It needs no package
    on the node but Ray.

    Args:
        command: the command of the worker.
        environment: variables that are added to those of the node.
        folder: the working directory.
        log: the file of its output, which is appended to.

    Raises:
        OSError: if the folder or the log is not on this node.
    """

    def __init__(
        self, command: Sequence[str], environment: Mapping[str, str], folder: str, log: str
    ) -> None:
        with open(log, "ab") as output:  # noqa: PTH123  (an actor imports as little as it can)
            self._process = subprocess.Popen(
                ["/bin/sh", "-c", _SCRIPT, "sh", *command],
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=output,
                cwd=folder,
                env={**os.environ, **environment},
                start_new_session=True,
            )
        self._is_stopped = False
        threading.Thread(target=self._wait, daemon=True).start()

    def answer(self) -> None:
        """Do nothing: an actor that answers runs."""

    def stop(self) -> None:
        """Ask the worker to stop; it writes a checkpoint, and this actor ends."""
        self._is_stopped = True
        if self._process.stdin is not None:
            self._process.stdin.close()
        threading.Timer(_STOP_SECONDS, self._kill).start()

    def _kill(self) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, 9)

    def _wait(self) -> None:
        try:
            status = self._process.wait()
            if self._is_stopped or status in _FINAL:
                import ray

                ray.kill(ray.get_runtime_context().current_actor, no_restart=True)
                time.sleep(_STOP_SECONDS)
        finally:  # also if Ray fails: an actor without a worker would keep its resources
            os._exit(1)  # Ray starts the actor again


def start(request: Mapping[str, Any]) -> dict[str, Any]:
    """Create the actors of a job; an error of the first one is the error of the job."""
    import ray

    environment = {key: value for key, value in os.environ.items() if not _is_of_ray(key)}
    options = {"lifetime": "detached", "max_restarts": RESTARTS, **request["resources"]}
    actor = ray.remote(Worker)
    handles: list[Any] = []
    try:
        for number in range(request["count"]):
            name = f"{request['name']}-{number}"
            log = os.path.join(request["logs"], f"ray-{name}.out")  # noqa: PTH118
            arguments = (request["command"], environment, request["folder"], log)
            handles.append(actor.options(name=name, **options).remote(*arguments))
        first, _ = ray.wait([handle.answer.remote() for handle in handles], timeout=_FIRST_SECONDS)
        ray.get(first)
    except Exception:
        for handle in handles:
            ray.kill(handle, no_restart=True)
        raise
    return {}


def find(request: Mapping[str, Any]) -> dict[str, Any]:
    """The address of the cluster, by which this machine and others can connect to it."""
    import ray

    address = request["address"]
    is_explicit = address != "auto"
    return {"address": address if is_explicit else ray.get_runtime_context().gcs_address}


def states(request: Mapping[str, Any]) -> dict[str, Any]:
    """By job that has not ended, its workers that wait and run, and why they wait."""
    import ray

    actors = _actors(request["names"])
    answered = _answers([actor.answer.remote() for _, actor in actors])
    found: dict[str, Any] = {job: {"waiting": 0, "running": 0} for job, _ in actors}
    for (job, _), has_answered in zip(actors, answered, strict=True):
        found[job]["running" if has_answered else "waiting"] += 1
    if not all(answered):
        free, total = ray.available_resources(), ray.cluster_resources()
        cpus, gpus = (f"{free.get(x, 0):g} of {total.get(x, 0):g} {x}s" for x in ("CPU", "GPU"))
        for job in found.values():
            job["reason"] = f"{cpus} and {gpus} are free" if job["waiting"] else ""
    return {"states": found}


def cancel(request: Mapping[str, Any]) -> dict[str, Any]:
    """Ask the workers of jobs to stop, and remove those that wait."""
    import ray

    actors = _actors(request["names"])
    answered = _answers([actor.stop.remote() for _, actor in actors])
    for (_, actor), has_answered in zip(actors, answered, strict=True):
        if not has_answered:
            ray.kill(actor, no_restart=True)
    return {}


def run_cluster(answer: Callable[[dict[str, Any]], None]) -> None:
    """Start a Ray cluster of this machine, print its address, and end it at the end of stdin."""
    import ray

    context: Any = ray.init(
        address="local",
        namespace=NAMESPACE,
        include_dashboard=False,
        object_store_memory=100 * 2**20,  # nothing is stored in it
        log_to_driver=False,
        logging_level=logging.ERROR,
    )
    answer({"address": context.address_info["gcs_address"]})
    sys.stdin.read()
    names = {name.rpartition("-")[0] for name in ray.util.list_named_actors()}
    cancel({"names": sorted(names)})
    deadline = time.monotonic() + _STOP_SECONDS
    while ray.util.list_named_actors() and time.monotonic() < deadline:
        time.sleep(0.1)
    ray.shutdown()


def connect(address: str) -> None:
    """Connect to the cluster at an address, or to the one of this machine if it is "auto".

    Raises:
        Exception: of many classes, if no cluster answers.
    """
    import ray

    host, _, port = address.rpartition("://")[2].rpartition(":")
    if port.isdigit():  # Ray would wait for minutes
        socket.create_connection((host.strip("[]"), int(port)), timeout=_CONNECT_SECONDS).close()
    ray.init(address=address, namespace=NAMESPACE, log_to_driver=False, logging_level=logging.ERROR)


def main(arguments: Sequence[str]) -> None:
    """Answer one request: `start`, `states`, `cancel` or `find`; or `cluster`."""
    commands: dict[str, Callable[[Mapping[str, Any]], dict[str, Any]]] = {
        "start": start,
        "states": states,
        "cancel": cancel,
        "find": find,
    }
    (command,) = arguments
    output = os.fdopen(os.dup(1), "w", buffering=1, encoding="utf-8")
    os.dup2(2, 1)  # Ray may print

    def answer(content: Mapping[str, Any]) -> None:
        output.write(f"{json.dumps(content)}\n")

    try:
        if command == "cluster":
            run_cluster(answer)
            return
        request = json.load(sys.stdin)
        connect(request["address"])
        answer({})
        answer(commands[command](request))
    except Exception as error:
        answer({"error": last_error(error)})


def last_error(error: BaseException) -> str:
    """The text of the first cause of an error, also if Ray has put its traceback into the text.

    Example:
        >>> last_error(RuntimeError("the actor died"))
        'the actor died'
    """
    while error.__cause__ is not None:
        error = error.__cause__
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    errors = [found[1] for line in lines if (found := re.match(r"[\w.]*Error: (.*)", line))]
    return (errors or lines or [type(error).__name__])[-1]


def _is_of_ray(variable: str) -> bool:
    """Whether Ray sets this environment variable for each actor."""
    return variable.startswith("RAY_") or "_VISIBLE_" in variable


def _actors(jobs: Sequence[str]) -> list[tuple[str, Any]]:
    """The actors of jobs that have not ended, each with its job."""
    import ray

    found: list[tuple[str, Any]] = []
    for name in ray.util.list_named_actors():
        job = name.rpartition("-")[0]
        if job in jobs:
            with suppress(ValueError):  # it has ended since
                found.append((job, ray.get_actor(name)))
    return found


def _answers(calls: list[Any]) -> list[bool]:
    """Whether each call of an actor has succeeded in time."""
    import ray
    from ray.exceptions import RayError

    if not calls:
        return []
    done, _ = ray.wait(calls, num_returns=len(calls), timeout=_ANSWER_SECONDS)
    succeeded = set()
    for call in done:
        with suppress(RayError):
            ray.get(call)
            succeeded.add(call)
    return [call in succeeded for call in calls]


if __name__ == "__main__":
    main(sys.argv[1:])
