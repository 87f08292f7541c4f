"""The jobs of a results folder, in its file jobs.json.

Each job is written before it is submitted, without an id, so that it can be found by its name if
the submission is interrupted. What a job does now is never stored: its engine is the one to know.
"""

import math
import time
from collections.abc import Callable, Sequence
from typing import Annotated

from pydantic import Field

from quatrain.results import ResultStore, pluralize, write_atomically
from quatrain.results.files import read_regular
from quatrain.results.record import StoredModel
from quatrain.specs import QuatrainError, StoredFileError, StudyError
from quatrain.study.engines.engine import Engine, JobState, NoClusterError
from quatrain.study.engines.ray import Ray
from quatrain.study.engines.slurm import Slurm

JOBS = "jobs.json"
ENGINES: dict[str, Callable[[], Engine]] = {Slurm.name: Slurm, Ray.name: Ray}
"""By name, an engine that tells the state of jobs and cancels them."""

_REMEDY = "delete this file, which only forgets the jobs that were submitted"
_Name = Annotated[str, Field(pattern=r"^[\w.-]{1,200}$")]


class Job(StoredModel):
    """A job that was submitted for a results folder.

    Attributes:
        engine: the name of its engine.
        name: its unique name.
        id: the engine's number of it; None while it is being submitted.
        workers: the number of workers.
        submitted: the time of the submission, UTC in ISO 8601.
        cancelled: whether `quatrain study cancel` cancelled it.
    """

    engine: _Name
    name: _Name
    id: _Name | None = None
    workers: Annotated[int, Field(ge=1)]
    submitted: str
    cancelled: bool = False

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


def cancel_jobs(store: ResultStore) -> list[tuple[Job, JobState]]:
    """Cancel the active jobs of this folder; return them, with their workers so far.

    Raises:
        NoAnswerError: if an engine does not answer.
        StudyError: as `active_jobs`.
    """
    active = active_jobs(store)
    for job, _ in active:  # first, so that a `study run` that watches the job submits no other one
        keep_job(store, job.model_copy(update={"cancelled": True}))
    for engine in dict.fromkeys(job.engine for job, _ in active):
        engine_of(engine).cancel([job.name for job, _ in active if job.engine == engine])
    return active


def active_jobs(store: ResultStore) -> list[tuple[Job, JobState]]:
    """The jobs of this folder that wait or run, with their workers.

    Raises:
        NoAnswerError: if an engine does not answer.
        StudyError: if its programs are not on this machine, or this version lacks the engine.
    """
    jobs = stored_jobs(store)
    active: list[tuple[Job, JobState]] = []
    for name in dict.fromkeys(job.engine for job in jobs):
        own = [job for job in jobs if job.engine == name]
        states = engine_of(name).states([job.name for job in own])
        for job in own:
            if job.name in states:
                state = states[job.name]
                active.append((job.model_copy(update={"id": state.id}), state))
    return active


def engine_of(name: str) -> Engine:
    """The engine of a stored job."""
    if name not in ENGINES:
        message = f"{JOBS} has a job of the engine {name}; use the newer quatrain that wrote it"
        raise StudyError(message, "engine")
    return ENGINES[name]()


class JobWatch:
    """Looks at the jobs of a folder, at most once every `seconds`: all users share the engine."""

    def __init__(self, store: ResultStore, seconds: float = 30.0) -> None:
        self._store, self._seconds = store, seconds
        self._time = -math.inf
        self._lines: list[str] = []
        self._looks_without_job = 0

    @property
    def has_ended(self) -> bool:
        """Whether two looks have found that no job waits or runs, or no cluster."""
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
            active = active_jobs(self._store)
        except QuatrainError as error:
            self._looks_without_job += isinstance(error, NoClusterError)
            return [f"The state of the jobs is unknown: {error}."]
        if not active:
            self._looks_without_job += 1
            return ["No job is active."]
        self._looks_without_job = 0
        return [f"{job.label}: {state_text(state)}" for job, state in active]


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
