"""The plan of a study: the state of each run, and an estimate of its hours.

Hours come from the records of the same cell with other seeds. Without any they are unknown, unless
a trial trains each such cell for some seconds. No trial trains in several processes: the hours of
a cell whose recipe has them are unknown until one of its runs is done.
"""

import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from quatrain.results import Record, ResultStore, RunState
from quatrain.study.budget import Durations, runs_within
from quatrain.study.execute import Train
from quatrain.study.finished import FinishedRuns
from quatrain.study.grid import Run, SelfTraining, Study
from quatrain.study.manifest import runs_of_study
from quatrain.study.order import InformativeOrder

if TYPE_CHECKING:
    from quatrain.training import Progress

_LISTED_SEEDS = 10


@dataclass(frozen=True)
class Duration:
    """Steps of one run, and the seconds of its training."""

    steps: int
    seconds: float


@dataclass(frozen=True)
class PlannedRun:
    """One run of the plan; None for an unknown number."""

    cells: tuple[str, ...]
    seed: int
    identity: str
    state: str
    steps: int | None
    hours: float | None
    source: str
    """The origin of the hours: records, a trial, or unknown."""
    gpu_hours: float | None
    """Hours on one GPU of a run that is not done, for a spec that has `gpu_hours()`."""
    start: int | None = None
    """The place in the order of a budget; None without one, and for runs that it leaves out."""
    left_out: bool = False
    """Whether a budget leaves the run out."""


@dataclass(frozen=True, kw_only=True)
class Trial:
    """A trial trains a run for `seconds`, and extrapolates to all of its steps."""

    data: Path | None
    device: str
    train: Train
    seconds: float = 10.0


def plan_study(
    study: Study, store: ResultStore, runs: Sequence[Run], trial: Trial | None = None
) -> list[PlannedRun]:
    """The state and the estimated duration of each of `runs`."""
    specs = {cell.label: study.identity(cell, 0) for cell in study.cells}
    measured: dict[str, Duration] = {}
    records: dict[str, list[Record]] = {}
    for run in runs_of_study(study, store, runs):
        record = store.record(run.identity)
        if record is not None:
            measured[run.identity] = Duration(record.steps, record.seconds)
            records.setdefault(specs[run.labels[0]], []).append(record)
    means = {spec: _mean(of_spec) for spec, of_spec in records.items()}
    extrapolated: dict[str, Duration | None] = {}
    gpu_hours: dict[str, float | None] = {}
    planned: list[PlannedRun] = []
    for run in runs:
        spec = specs[run.labels[0]]
        duration, source = means.get(spec, (None, "unknown"))
        if run.identity in measured:
            duration, source = measured[run.identity], "record"
        if duration is None and trial is not None:
            resolved = run.spec.to_json()
            if resolved not in extrapolated:
                extrapolated[resolved] = extrapolate(run, trial)
            duration = extrapolated[resolved]
            source = "unknown" if duration is None else "trial"
        state = store.state(run.identity)
        if state is not RunState.DONE and spec not in gpu_hours:
            estimate = getattr(run.spec, "gpu_hours", None)
            gpu_hours[spec] = estimate() if estimate else None
        planned.append(
            PlannedRun(
                cells=run.labels,
                seed=run.seed,
                identity=run.identity,
                state=state.value,
                steps=duration.steps if duration else None,
                hours=duration.seconds / 3600 if duration else None,
                source=source,
                gpu_hours=None if state is RunState.DONE else gpu_hours[spec],
            )
        )
    return planned


def plan_budget(
    study: Study,
    store: ResultStore,
    runs: Sequence[Run],
    rows: Sequence[PlannedRun],
    *,
    seconds: float,
    jobs: int,
) -> list[PlannedRun]:
    """The rows of a plan, with the runs that a budget allows and leaves out.

    Args:
        study: the study.
        store: its results.
        runs: the runs of the rows.
        rows: the result of `plan_study`.
        seconds: the budget.
        jobs: runs at once.
    """
    metric = study.compared_in or study.metric
    finished = FinishedRuns(store, runs_of_study(study, store, runs), metric)
    finished.update()
    durations = Durations(study, store, runs, finished)
    trials = {row.identity: row.hours for row in rows if row.source == "trial"}
    open_states = {RunState.ABSENT.value, RunState.PAUSED.value}
    open_runs = {row.identity for row in rows if row.state in open_states}
    waiting = [run for run in runs if run.identity in open_runs]
    seconds_of = {  # of many runs, each is looked up before every start
        run.identity: durations.seconds(run) if hours is None else 3600 * hours
        for run in waiting
        for hours in [trials.get(run.identity)]
    }
    queue = partial(InformativeOrder, study, store, waiting, finished)
    started = runs_within(queue, lambda run: seconds_of[run.identity], seconds, jobs)
    places = {run.identity: place for place, run in enumerate(started, start=1)}
    return [
        replace(
            row,
            start=places.get(row.identity),
            left_out=row.identity in open_runs and row.identity not in places,
        )
        for row in rows
    ]


def _mean(records: Sequence[Record]) -> tuple[Duration, str]:
    """The mean duration of the runs of a cell, and their seeds."""
    mean = sum(record.seconds for record in records) / len(records)
    seeds = [str(record.seed) for record in records]
    more = f" and {len(seeds) - _LISTED_SEEDS:,} more" if len(seeds) > _LISTED_SEEDS else ""
    source = f"records of seeds {', '.join(seeds[:_LISTED_SEEDS])}{more}"
    return Duration(records[0].steps, mean), source


class _TrialEndError(Exception):
    """Ends a trial from within the training loop, which has no other way to be stopped."""


def extrapolate(run: Run, trial: Trial) -> Duration | None:
    """Train `run` in a temporary folder for some seconds; extrapolate to all steps.

    None for a run of several processes, which a trial does not start, and for a task with a
    training loop of its own, which has no steps to count.
    """
    if run.processes > 1:
        return None
    reports: list[tuple[float, int]] = []
    steps = 0

    def report(progress: "Progress") -> None:
        nonlocal steps
        steps = progress.steps
        reports.append((time.monotonic(), progress.step))
        if reports[-1][0] - reports[0][0] >= trial.seconds:
            raise _TrialEndError

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        task = run.open(trial.data, folder)
        if isinstance(task, SelfTraining):
            return None
        start = time.monotonic()
        try:
            result = trial.train(task, folder, seed=run.seed, device=trial.device, notify=report)
        except _TrialEndError:
            (first_time, first_step), (last_time, last_step) = reports[0], reports[-1]
            seconds = (last_time - first_time) * steps / max(1, last_step - first_step)
            return Duration(steps, seconds)
    return Duration(result.steps, time.monotonic() - start)
