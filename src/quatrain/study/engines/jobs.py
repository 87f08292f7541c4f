"""The jobs of a results folder, in its file jobs.json.

Each job is written before it is submitted, without an id, so that it can be found by its name if
the submission is interrupted. What a job does now is never stored: its engine is the one to know.
"""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated

from pydantic import Field

from quatrain.results import ResultStore, pluralize, write_atomically
from quatrain.results.files import read_regular
from quatrain.results.record import StoredModel
from quatrain.specs import MissingPackageError, QuatrainError, StoredFileError, StudyError
from quatrain.study.engines.engine import Engine, JobState, NoClusterError
from quatrain.study.engines.ray import Ray
from quatrain.study.engines.slurm import Slurm

JOBS = "jobs.json"
ENGINES: dict[str, Callable[[str | None], Engine]] = {
    Slurm.name: lambda _: Slurm(),
    Ray.name: lambda address: Ray(address=address),
}
"""By name, an engine that tells the state of jobs and cancels them, for the address of a job."""

_REMEDY = "delete this file, which only forgets the jobs that were submitted"
_Name = Annotated[str, Field(pattern=r"^[\w.-]{1,200}$")]
_Address = Annotated[str, Field(pattern=r"^\S{1,500}$")]


class Job(StoredModel):
    """A job that was submitted for a results folder.

    Attributes:
        engine: the name of its engine.
        name: its unique name.
        id: the engine's number of it; None while it is being submitted.
        workers: the number of workers.
        submitted: the time of the submission, UTC in ISO 8601.
        address: the address of its cluster; None for an engine without addresses.
        cancelled: whether `quatrain study cancel` cancelled it.
        cells: the globs of cell names that its workers select; empty for all cells.
        seeds: the seeds that they select; empty for those of the study.
    """

    engine: _Name
    name: _Name
    id: _Name | None = None
    workers: Annotated[int, Field(ge=1)]
    submitted: str
    address: _Address | None = None
    cancelled: bool = False
    cells: tuple[str, ...] = ()
    seeds: tuple[int, ...] = ()

    @property
    def label(self) -> str:
        """The engine and the id, or the name of a job without a known id."""
        return f"{self.engine} job {self.id or self.name}"


class Jobs(StoredModel):
    """The content of jobs.json."""

    jobs: tuple[Job, ...] = ()


def stored_jobs(store: ResultStore) -> tuple[Job, ...]:
    """All jobs that were submitted for this folder, the latest at the end.

    Raises:
        StoredFileError: if jobs.json is damaged.
    """
    path = store.root / JOBS
    content = read_regular(path, _REMEDY)
    if content is None:
        return ()
    try:
        return Jobs.from_json(content, _REMEDY).jobs
    except StudyError as error:
        raise StoredFileError(f"{path}: {error}", str(path)) from error


def keep_job(store: ResultStore, job: Job) -> None:
    """Store a job, in place of an earlier version of it."""
    with store.lock_manifest():
        others = [other for other in stored_jobs(store) if other.name != job.name]
        _write(store, [*others, job])


def forget_job(store: ResultStore, job: Job) -> None:
    """Remove a job that was not submitted, or whose cluster was that of one command."""
    with store.lock_manifest():
        _write(store, [other for other in stored_jobs(store) if other.name != job.name])


@dataclass(frozen=True)
class JobStates:
    """The jobs of a folder that wait or run, and those whose state is unknown.

    Args:
        active: the jobs that wait or run, with their workers.
        unknown: the others whose cluster gave an error, each with it.
    """

    active: list[tuple[Job, JobState]]
    unknown: list[tuple[Job, QuatrainError]]

    def errors(self, *, without_cluster: bool) -> list[QuatrainError]:
        """The errors about no cluster, or about a cluster that cannot be reached from here."""
        errors = {str(error): error for _, error in self.unknown}
        kind = NoClusterError | MissingPackageError
        return [error for error in errors.values() if isinstance(error, kind) is without_cluster]


def cancel_jobs(store: ResultStore) -> JobStates:
    """Cancel the active jobs of this folder, and return them with their workers so far.

    Jobs of an engine that does not answer are not cancelled; they are the unknown ones.

    Raises:
        StoredFileError: if jobs.json is damaged.
    """
    found = job_states(store)
    for job, _ in found.active:  # first, so that a `study run` that watches it submits no other one
        keep_job(store, job.model_copy(update={"cancelled": True}))
    unknown = list(found.unknown)
    for own in _by_cluster([job for job, _ in found.active]):
        try:
            engine_of(own[0]).cancel([job.name for job in own])
        except QuatrainError as error:
            unknown += [(job, error) for job in own]
    names = {job.name for job, _ in unknown}
    return JobStates(
        [(job, state) for job, state in found.active if job.name not in names], unknown
    )


def active_jobs(store: ResultStore) -> list[tuple[Job, JobState]]:
    """The jobs of this folder that wait or run, with their workers.

    A job of Ray has ended with its cluster: none is active if no cluster answers, or if Ray is not
    installed here.

    Raises:
        NoAnswerError: if an engine does not answer.
        StudyError: if its programs are not on this machine, or this version lacks the engine.
    """
    states = job_states(store)
    for error in states.errors(without_cluster=False):
        raise error
    return states.active


def job_states(store: ResultStore) -> JobStates:
    """The states of the jobs of this folder; an error of one engine does not hide the others.

    Raises:
        StoredFileError: if jobs.json is damaged.
    """
    states = JobStates([], [])
    for own in _by_cluster(stored_jobs(store)):
        try:
            found = engine_of(own[0]).states([job.name for job in own])
        except QuatrainError as error:
            states.unknown.extend((job, error) for job in own)
            continue
        for job in own:
            if job.name in found:
                state = found[job.name]
                states.active.append((job.model_copy(update={"id": state.id}), state))
    return states


def _by_cluster(jobs: Sequence[Job]) -> list[list[Job]]:
    """The jobs of each cluster, which one call can ask for."""
    clusters: dict[tuple[str, str | None], list[Job]] = {}
    for job in jobs:
        clusters.setdefault((job.engine, job.address), []).append(job)
    return list(clusters.values())


def engine_of(job: Job) -> Engine:
    """The engine of a stored job, for the cluster that has it."""
    name = job.engine
    if name not in ENGINES:
        message = f"{JOBS} has a job of the engine {name}; use the newer quatrain that wrote it"
        raise StudyError(message, "engine")
    return ENGINES[name](job.address)


class JobWatch:
    """Looks at the jobs of a folder, at most once every `seconds`: all users share the engine."""

    def __init__(self, store: ResultStore, seconds: float = 30.0) -> None:
        self._store, self._seconds = store, seconds
        self._time = -math.inf
        self._lines: list[str] = []
        self._looks_without_job = 0

    @property
    def has_ended(self) -> bool:
        """Whether two looks have found that no job waits or runs, and no cluster has one."""
        return self._looks_without_job > 1

    def lines(self) -> list[str]:
        """The active jobs in words, one line each; empty for a folder without jobs.

        'slurm job 12: 3 workers run, 21 wait (Priority)'
        """
        if time.monotonic() - self._time >= self._seconds:
            self._time = time.monotonic()
            self._lines = self._look()
        return self._lines

    def _look(self) -> list[str]:
        try:
            if not stored_jobs(self._store):
                return []
            states = job_states(self._store)
        except QuatrainError as error:
            return [f"The state of the jobs is unknown: {error}."]
        lines = [f"{job.label}: {state_text(state)}" for job, state in states.active]
        errors = states.errors(without_cluster=False)
        if lines:
            self._looks_without_job = 0
        elif not errors:
            self._looks_without_job += 1
            errors = states.errors(without_cluster=True)
        lines += [f"The state of the jobs is unknown: {error}." for error in errors]
        return lines or ["No job is active."]


def state_text(state: JobState) -> str:
    """How many workers run and wait: '3 workers run, 21 wait (Priority)'."""
    parts: list[str] = []
    if state.running:
        parts.append(f"{pluralize(state.running, 'worker')} run{'s' * (state.running == 1)}")
    if state.waiting:
        subject = str(state.waiting) if parts else pluralize(state.waiting, "worker")
        reason = f" ({state.reason})" if state.reason not in {"", "None"} else ""
        parts.append(f"{subject} wait{'s' * (state.waiting == 1)}{reason}")
    return ", ".join(parts)


def _write(store: ResultStore, jobs: Sequence[Job]) -> None:
    write_atomically(store.root / JOBS, Jobs(jobs=tuple(jobs)).to_json())
