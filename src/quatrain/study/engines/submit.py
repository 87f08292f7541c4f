"""Submission of workers for the runs of a study that are left.

study file -> study.json -> runs left, less workers that are active -> jobs.json -> engine

`quatrain.study.engines.plan` computes the same numbers without submitting.
"""

import re
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from quatrain.results import ResultStore, RunState
from quatrain.results.snapshot import Snapshot
from quatrain.specs import StudyError
from quatrain.study.changes import check_stored_code
from quatrain.study.engines.engine import Engine, JobState, NoAnswerError, Workers
from quatrain.study.engines.jobs import Job, active_jobs, forget_job, keep_job
from quatrain.study.engines.time_limit import expected_seconds, seconds_of_a_worker
from quatrain.study.grid import Run, Study
from quatrain.study.manifest import maintained_manifest
from quatrain.study.runner import Selection
from quatrain.study.sessions import earlier_failure

MOST_WORKERS = 1000
"""The largest array that Slurm accepts by default (MaxArraySize=1001)."""


@dataclass(frozen=True, kw_only=True)
class Submission:
    """The result of `submit`.

    Args:
        job: the new job; None if no further worker is needed.
        active: the jobs of the folder that were active before, with their workers.
        left: the number of runs that are neither done nor failed.
        seconds: `Workers.seconds` of the new job.
    """

    job: Job | None
    active: list[tuple[Job, JobState]]
    left: int
    seconds: float | None = None


def submit(
    study: Study, workers: Workers, engine: Engine, select: Selection | None = None
) -> Submission:
    """Submit workers, so that `workers.count` are active, but no more than there are runs left.

    Workers of earlier jobs that are still active count if they execute all runs that are left: the
    same submission again adds none.
    Failures of selected runs are removed first, if `select.retry_failed`: so each is repeated once,
    and not once by each worker.

    Raises:
        StudyError: if finished runs have other code, or the engine refuses the job.
        NoAnswerError: if the engine does not answer; a job that it accepted nevertheless is found
            by the next submission.
    """
    select = select or Selection()
    if workers.count < 1:
        raise StudyError(f"jobs={workers.count} is below 1; change --jobs", "jobs")
    runs = study.select(select.cells, select.seeds)
    store = Snapshot(workers.out)
    check_stored_code(store, runs)
    with maintained_manifest(store, study, runs):
        active = active_jobs(store)
        if select.retry_failed:
            _clear_failures(store, runs)
    left = runs_left(store, runs)
    earlier = active_workers(study, active, left)
    count = min(workers.count, len(left)) - earlier
    if count < 1:
        return Submission(job=None, active=active, left=len(left))
    seconds = expected_seconds(study, store, left, device=workers.device, threads=workers.threads)
    workers = replace(
        workers,
        count=count,
        processes=max(run.processes for run in left),
        cells=tuple(select.cells or ()),
        seeds=tuple(select.seeds or ()),
        seconds=seconds_of_a_worker(seconds, count + earlier),
    )
    job = _start(store, workers, engine)
    return Submission(job=job, active=active, left=len(left), seconds=workers.seconds)


def runs_left(store: ResultStore, runs: Sequence[Run]) -> list[Run]:
    """The runs that workers would execute: neither done nor failed."""
    return [run for run in runs if _is_left(store, run)]


def active_workers(
    study: Study, active: Sequence[tuple[Job, JobState]], left: Sequence[Run]
) -> int:
    """The number of workers of those jobs that execute all runs that are left."""
    needed = {run.identity for run in left}
    return sum(
        state.waiting + state.running for job, state in active if needed <= _selected_by(job, study)
    )


def _selected_by(job: Job, study: Study) -> set[str]:
    """The identities of the runs of a job; none if the study has lost its cells since."""
    try:
        return {run.identity for run in study.select(job.cells or None, job.seeds or None)}
    except StudyError:
        return set()


def _start(store: ResultStore, workers: Workers, engine: Engine) -> Job:
    """Store the job without an id, submit it, and store its id."""
    stem = re.sub(r"[^\w.-]", "_", workers.study.stem, flags=re.ASCII)[:40]
    job = Job(
        engine=engine.name,
        name=f"quatrain-{stem}-{secrets.token_hex(4)}",
        workers=workers.count,
        submitted=datetime.now(UTC).isoformat(timespec="seconds"),
        address=engine.address(),
        cells=workers.cells,
        seeds=workers.seeds,
    )
    keep_job(store, job)
    try:
        job = job.model_copy(update={"id": engine.start(workers, job.name)})
    except NoAnswerError:
        raise
    except StudyError:
        forget_job(store, job)
        raise
    keep_job(store, job)
    return job


def _is_left(store: ResultStore, run: Run) -> bool:
    is_done = store.state(run.identity) is RunState.DONE
    return not is_done and earlier_failure(run, store) is None


def _clear_failures(store: ResultStore, runs: Sequence[Run]) -> None:
    for run in runs:
        if store.state(run.identity) is RunState.FAILED:
            store.clear_failure(run.identity)
