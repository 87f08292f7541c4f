"""What `benchmarks.kills` kills: a study on this machine, or on a cluster that is simulated on it.

    with ENGINES["slurm"](folder) as engine:
        driver = Driver(study, out, engine)
        driver.start()
        engine.targets["worker"](driver, random.Random(1))

A target returns False if there was nothing to kill.
"""

import importlib
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, ClassVar, Protocol, Self

from quatrain.specs import InputError

_PROGRAM = (sys.executable, "-P", "-c", "from quatrain.cli.start import main; main()")


class Driver:
    """A process `quatrain study run`, whose workers an engine starts."""

    process: "subprocess.Popen[bytes]"

    def __init__(self, study: Path, out: Path, engine: "Engine") -> None:
        self.study, self.out, self.engine = study, out, engine

    def start(self) -> None:
        """Start the process."""
        words = ["study", "run", self.study, "--out", self.out, "--jobs", "2", "--threads", "1"]
        command = [*_PROGRAM, *map(str, words), *self.engine.options]
        nothing, environment = subprocess.DEVNULL, {**os.environ, **self.engine.environment}
        self.process = subprocess.Popen(command, stdout=nothing, stderr=nothing, env=environment)

    @property
    def is_running(self) -> bool:
        """Whether the process has not ended."""
        return self.process.poll() is None

    def workers(self) -> list[int]:
        """The processes that have the folder of results among their arguments, but not the driver.

        Shells of a batch job, whose arguments are a file, are not among them.
        """
        found: list[int] = []
        for path in Path("/proc").glob("[0-9]*/cmdline"):
            with suppress(OSError):
                words = path.read_bytes().split(b"\0")
                number = int(path.parent.name)
                if str(self.out).encode() in words and number != self.process.pid:
                    found.append(number)
        return sorted(found)

    def kill(self) -> None:
        """Kill the process, but not its workers."""
        self.process.kill()
        self.process.wait()


Target = Callable[[Driver, random.Random], bool]


class Engine(Protocol):
    """Where the workers of a study run."""

    options: Sequence[str]
    """Further options of `quatrain study run`."""
    environment: Mapping[str, str]
    """Environment variables that the program needs."""
    targets: Mapping[str, Target]
    """By name, a function that kills something."""

    def __init__(self, folder: Path) -> None:
        """Prepare in an empty folder."""
        ...

    def __enter__(self) -> Self:
        """Start."""
        ...

    def __exit__(self, *_: object) -> None:
        """Stop."""
        ...


def kill(processes: Sequence[int]) -> bool:
    """Send SIGKILL to processes; False if there are none."""
    for process in processes:
        with suppress(ProcessLookupError):
            os.kill(process, signal.SIGKILL)
    return bool(processes)


def kill_groups(processes: Sequence[int]) -> bool:
    """Send SIGKILL to the process groups of processes; False if there are none."""
    for process in processes:
        with suppress(ProcessLookupError):
            os.killpg(os.getpgid(process), signal.SIGKILL)
    return bool(processes)


def one_of(processes: Sequence[int], choose: random.Random) -> list[int]:
    """One of the processes, or none if there are none."""
    return [choose.choice(processes)] if processes else []


def kill_driver(driver: Driver, _: random.Random) -> bool:
    """Kill the driver."""
    driver.kill()
    return True


def kill_worker(driver: Driver, choose: random.Random) -> bool:
    """Kill one worker."""
    return kill(one_of(driver.workers(), choose))


def kill_group(driver: Driver, choose: random.Random) -> bool:
    """Kill the process group of one worker."""
    return kill_groups(one_of(driver.workers(), choose))


def kill_all(driver: Driver, _: random.Random) -> bool:
    """Kill the driver and the groups of all workers, as the end of a machine does."""
    workers = driver.workers()
    driver.kill()
    kill_groups(workers)
    return True


class Local:
    """Workers that the driver starts on this machine."""

    options: Sequence[str] = ()
    environment: Mapping[str, str] = {}
    targets: Mapping[str, Target] = {
        "driver": kill_driver,
        "worker": kill_worker,
        "process group": kill_group,
        "all at once": kill_all,
    }

    def __init__(self, folder: Path) -> None:
        """Nothing is prepared."""

    def __enter__(self) -> Self:
        """Nothing is started."""
        return self

    def __exit__(self, *_: object) -> None:
        """Nothing is stopped."""


class Slurm:
    """Workers in an array job on a cluster of two nodes; "node" ends all processes of one."""

    options: Sequence[str] = ("--on", "slurm")
    down_seconds: ClassVar[float] = 15.0
    """Seconds for which a daemon stays down: longer than Slurm waits before it requeues."""

    def __init__(self, folder: Path) -> None:
        fake = _fake_cluster("slurm")
        self.cluster: Any = fake.SlurmCluster(folder)
        self.environment: Mapping[str, str] = self.cluster.environment
        self.targets: Mapping[str, Target] = {
            "driver": kill_driver,
            "worker": kill_worker,
            "node": self._kill_node,
            "daemon of a node": self._kill_daemon,
            "controller": self._kill_controller,
            "all at once": self._kill_all,
        }

    def __enter__(self) -> Self:
        """Start the daemons."""
        self.cluster.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Cancel all jobs, and end the daemons."""
        self.cluster.stop()

    def _kill_daemon(self, _: Driver, choose: random.Random) -> bool:
        node = choose.choice(("n1", "n2"))
        self.cluster.kill(node)
        time.sleep(self.down_seconds)
        self.cluster.start_node(node)
        return True

    def _kill_node(self, driver: Driver, choose: random.Random) -> bool:
        node = choose.choice(("n1", "n2"))
        self.cluster.kill(node)
        kill_groups([worker for worker in driver.workers() if _node_of(worker) == node])
        time.sleep(self.down_seconds)
        self.cluster.start_node(node)
        return True

    def _kill_controller(self, _: Driver, choose: random.Random) -> bool:
        self.cluster.kill("slurmctld")
        time.sleep(choose.uniform(0, self.down_seconds))
        self.cluster.start_controller()
        return True

    def _kill_all(self, driver: Driver, _: random.Random) -> bool:
        workers = driver.workers()
        driver.kill()
        for name in ("slurmctld", "n1", "n2"):
            self.cluster.kill(name)
        kill_groups(workers)
        self.cluster.start_controller()
        for node in ("n1", "n2"):
            self.cluster.start_node(node)
        return True


class Ray:
    """Actors on a cluster of two nodes; children of the actors of a lost node live on."""

    options: Sequence[str] = ("--on", "ray")
    down_seconds: ClassVar[float] = 10.0
    """Seconds for which the second node is absent."""

    def __init__(self, folder: Path) -> None:
        del folder
        self._new_cluster: Callable[[], Any] = _fake_cluster("ray").RayCluster
        self.targets: Mapping[str, Target] = {
            "driver": kill_driver,
            "worker": kill_worker,
            "node": self._kill_node,
            "all at once": self._kill_all,
        }

    def __enter__(self) -> Self:
        """Start the nodes."""
        self.cluster = self._new_cluster()
        return self

    def __exit__(self, *_: object) -> None:
        """Kill the nodes."""
        self.cluster.stop()

    @property
    def environment(self) -> Mapping[str, str]:
        """The address of the cluster, which changes when it starts again."""
        return {"RAY_ADDRESS": self.cluster.address}

    def _kill_node(self, _: Driver, choose: random.Random) -> bool:
        self.cluster.lose_second_node()
        time.sleep(choose.uniform(0, self.down_seconds))
        self.cluster.add_second_node()
        return True

    def _kill_all(self, driver: Driver, _: random.Random) -> bool:
        workers = driver.workers()
        driver.kill()
        self.cluster.stop()
        kill_groups(workers)
        self.cluster = self._new_cluster()
        return True


def _fake_cluster(name: str) -> Any:
    """The module of the tests that starts a cluster on this machine.

    Raises:
        InputError: if what it needs is not installed.
    """
    tests = str(Path(__file__).parents[1] / "tests")
    if tests not in sys.path:
        sys.path.append(tests)
    module = importlib.import_module(f"fake.{name}_cluster")
    if reason := module.missing():
        raise InputError(f"engines={name} cannot be started here: {reason}", "engines")
    return module


def _node_of(process: int) -> str:
    """The name of the node on which Slurm started a process; empty if it has ended."""
    with suppress(OSError):
        for variable in Path(f"/proc/{process}/environ").read_bytes().split(b"\0"):
            name, _, value = variable.partition(b"=")
            if name == b"SLURMD_NODENAME":
                return value.decode()
    return ""


ENGINES: dict[str, Callable[[Path], Any]] = {"local": Local, "slurm": Slurm, "ray": Ray}
"""By the name of `--on`."""
