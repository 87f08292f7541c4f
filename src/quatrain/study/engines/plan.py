"""The plan of a submission: its workers, their hours, and the hours of each cell."""

import heapq
from collections.abc import Sequence
from dataclasses import dataclass

from quatrain.results import ResultStore
from quatrain.study.engines.jobs import active_jobs
from quatrain.study.engines.submit import active_workers, runs_left
from quatrain.study.engines.time_limit import expected_seconds, seconds_of_a_worker
from quatrain.study.estimate import PlannedRun
from quatrain.study.grid import Run, Study


@dataclass(frozen=True)
class CellHours:
    """The hours of the runs of a cell that are left; None if they are unknown."""

    cell: str
    runs: int
    hours_of_a_run: float | None
    hours: float | None


@dataclass(frozen=True, kw_only=True)
class SubmissionPlan:
    """The job that `quatrain.study.engines.submit` would submit; None for an unknown number.

    Hours are those of training, of a worker with all of its processes, threads and GPUs.
    """

    workers: int
    """The size of the array."""
    active: int
    """Active workers of earlier jobs that execute all runs that are left."""
    runs: int
    """The runs that are left."""
    known: int
    """Those whose hours are known."""
    hours: float | None
    """Of all workers together, for the known runs."""
    hours_of_a_worker: float | None
    """Of the worker that ends last."""
    seconds: float | None
    """`Workers.seconds` of the job, from finished runs."""
    seconds_by_trials: float | None
    """The same with the trials of `study plan --estimate`."""
    cells: tuple[CellHours, ...]


def plan_submission(
    study: Study,
    store: ResultStore,
    runs: Sequence[Run],
    rows: Sequence[PlannedRun],
    count: int,
    device: str,
    threads: int = 1,
) -> SubmissionPlan:
    """The plan for at most `count` workers.

    Args:
        study: the study.
        store: its results.
        runs: the selected runs.
        rows: the result of `quatrain.study.estimate.plan_study` for them.
        count: the largest number of workers.
        device: the device of the workers.
        threads: threads of each process that trains.

    Raises:
        NoAnswerError: if the folder has jobs, and their engine does not answer.
    """
    left = runs_left(store, runs)
    active = active_workers(study, active_jobs(store), left)
    workers = max(0, min(count, len(left)) - active)
    at_once = max(1, workers + active)
    by_identity = {row.identity: row for row in rows}
    planned = [by_identity[run.identity] for run in left]
    hours = [row.hours for row in planned if row.hours is not None]
    seconds = expected_seconds(study, store, left, device=device, threads=threads)
    with_trials = [
        3600 * row.hours if row.source == "trial" and row.hours is not None else own
        for row, own in zip(planned, seconds, strict=True)
    ]
    return SubmissionPlan(
        workers=workers,
        active=active,
        runs=len(left),
        known=len(hours),
        hours=sum(hours) if hours else None,
        hours_of_a_worker=_longest(hours, at_once) if hours else None,
        seconds=seconds_of_a_worker(seconds, at_once),
        seconds_by_trials=seconds_of_a_worker(with_trials, at_once),
        cells=_by_cell(planned),
    )


def _longest(hours: Sequence[float], workers: int) -> float:
    """The hours until the last worker ends, if each takes the next run when it has ended one."""
    ends = [0.0] * workers
    for duration in hours:
        heapq.heapreplace(ends, ends[0] + duration)
    return max(ends)


def _by_cell(rows: Sequence[PlannedRun]) -> tuple[CellHours, ...]:
    """The cells of the runs; a run that several cells share counts for the first."""
    cells: dict[str, list[float | None]] = {}
    for row in rows:
        cells.setdefault(row.cells[0], []).append(row.hours)
    found: list[CellHours] = []
    for cell, hours in cells.items():
        known = [duration for duration in hours if duration is not None]
        total = sum(known) if len(known) == len(hours) else None
        mean = sum(known) / len(known) if known else None
        found.append(CellHours(cell, len(hours), mean, total))
    return tuple(found)
