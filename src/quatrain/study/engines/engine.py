"""The interface of engines.

    engine.start(workers, "quatrain-coco-1f3a9c20")      # "12", the id of the job
    engine.states(["quatrain-coco-1f3a9c20"])            # {...: JobState("12", 3, 21)}
    engine.cancel(["quatrain-coco-1f3a9c20"])

An engine starts identical workers and stores nothing: the results folder decides which worker
executes which run, and has the names of the jobs. A job is known by its name, which is chosen
before it is submitted: a job whose submission was interrupted is found by it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Protocol

from quatrain.specs import StudyError
from quatrain.study.pool import WORKER

PROGRAM: tuple[str, ...] = (*WORKER[:-1], "quatrain.cli.start")
"""The command line program, in the interpreter and the environment of this process."""


class NoAnswerError(StudyError):
    """An engine that did not answer; a job that was being submitted may exist."""


class NoClusterError(StudyError):
    """No cluster of an engine whose jobs end with their cluster."""


@dataclass(frozen=True, kw_only=True)
class Workers:
    """Identical workers of a study: the command of each, and how many.

    Args:
        study: the study file.
        out: the folder of results, which all machines can write.
        count: the number of workers, at least 1.
        data: the folder of data.
        device: the device of each worker, as torch names it there.
        threads: threads of each process that trains.
        num_workers: processes that prepare batches, for each process that trains.
        processes: processes of a worker that train one run, each on a device of its own.
        cells: globs of cell names; empty for all cells.
        seeds: empty for those of the study.
        seconds: the time that each worker may need, with a margin; None if it is unknown.
        program: the command that starts `quatrain`, without arguments.
    """

    study: Path
    out: Path
    count: int
    data: Path | None = None
    device: str = "cpu"
    threads: int = 1
    num_workers: int = 0
    processes: int = 1
    cells: tuple[str, ...] = ()
    seeds: tuple[int, ...] = ()
    seconds: float | None = None
    program: tuple[str, ...] = PROGRAM

    @property
    def cpus(self) -> int:
        """The CPUs of one worker: one for each thread, and one for each process of batches."""
        return self.processes * (self.threads + self.num_workers)

    @property
    def gpus(self) -> int:
        """The GPUs of one worker: one for each process that trains, if the device is one."""
        return 0 if self.device == "cpu" else self.processes

    def command(self) -> list[str]:
        """The command of one worker, `quatrain study work` with its arguments.

        Example:
            >>> workers = Workers(study=Path("a.py"), out=Path("out"), count=2, seeds=(0, 1))
            >>> workers.command()[-8:]
            ['--device', 'cpu', '--threads', '1', '--num-workers', '0', '--seeds', '0,1']
        """
        words = [*self.program, "study", "work", str(self.study), "--out", str(self.out)]
        words += ["--device", self.device, "--threads", str(self.threads)]
        words += ["--num-workers", str(self.num_workers)]
        words += [] if self.data is None else ["--data", str(self.data)]
        words += [word for cell in self.cells for word in ("--cells", cell)]
        words += ["--seeds", ",".join(map(str, self.seeds))] if self.seeds else []
        return words


@dataclass(frozen=True)
class JobState:
    """The id of a job, its workers that wait and that run, and why the first of them waits."""

    id: str
    waiting: int = 0
    running: int = 0
    reason: str = ""


class Engine(Protocol):
    """Starts workers on other machines."""

    name: ClassVar[str]
    """Its name on the command line."""

    def address(self) -> str | None:
        """The address of its cluster, by which jobs are found later; None if it has no addresses.

        Raises:
            NoClusterError: if no cluster answers.
        """
        ...

    def time_limit(self, seconds: float | None) -> int | None:
        """The minutes of the time limit that `start` requests for workers that may need this time.

        None if it requests no limit.
        """
        ...

    def start(self, workers: Workers, name: str) -> str:
        """Submit one job of this name with all workers; return its id.

        Raises:
            NoAnswerError: if it is not known whether the job was submitted.
            StudyError: if it was not submitted.
        """
        ...

    def states(self, names: Sequence[str]) -> Mapping[str, JobState]:
        """The state of each job that waits or runs, by name; jobs that have ended are absent.

        Raises:
            NoAnswerError: if the engine does not answer.
        """
        ...

    def cancelled(self, names: Sequence[str]) -> set[str]:
        """The names of those jobs of which a worker was cancelled, as far as the engine remembers.

        Raises:
            NoAnswerError: if the engine does not answer.
        """
        ...

    def cancel(self, names: Sequence[str]) -> None:
        """Cancel the jobs of these names that have not ended.

        Raises:
            NoAnswerError: if the engine does not answer.
        """
        ...
