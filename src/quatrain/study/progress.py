"""Progress of a study that another process or machine executes, from its folder alone.

    watch = StudyWatch(ResultStore(folder))
    watch.look()                              # each run's state, step and time left

A run is running if a process of this machine holds its lock, or if its log has grown between two
looks, as in a folder that another machine fills.
"""

import json
import math
import statistics
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from quatrain.results import Manifest, ManifestCell, Record, ResultStore, RunState
from quatrain.results.files import read_regular
from quatrain.specs import QuatrainError
from quatrain.study.grid import matching_cells
from quatrain.study.status import last_step, last_values

ACTIVE_SECONDS = 300.0
"""Seconds after the last growth of a log during which its run counts as running."""

_ENDED = {"done", "failed"}


@dataclass(frozen=True)
class RunProgress:
    """A run of a study; None for an unknown number."""

    group: str
    cell: str
    seed: int
    identity: str
    state: str
    """A value of `RunState`, or "damaged" if its record cannot be read."""
    step: int | None = None
    steps: int | None = None
    seconds: float | None = None
    """Seconds of training so far."""
    seconds_left: float | None = None
    """Seconds of training that are left, at the speed so far."""
    metric: float | None = None
    """The primary metric of a finished run."""
    message: str = ""
    """The reason of a failure."""

    @property
    def label(self) -> str:
        """Group, cell and seed."""
        return f"{self.group}/{self.cell} seed {self.seed}"


@dataclass(frozen=True)
class StudyProgress:
    """The runs of a study, each once, in the order of the manifest."""

    title: str
    metric: str
    runs: tuple[RunProgress, ...]
    seconds_left: float | None
    """Seconds until all runs are done, if as many run at once as now; None if that is unknown."""

    @property
    def counts(self) -> dict[str, int]:
        """The number of runs by state."""
        return dict(Counter(run.state for run in self.runs))

    @property
    def is_over(self) -> bool:
        """Whether all runs are done or failed."""
        return all(run.state in _ENDED for run in self.runs)

    def of_state(self, state: str) -> list[RunProgress]:
        """The runs of a state."""
        return [run for run in self.runs if run.state == state]


class StudyWatch:
    """Looks at a study's folder again and again; reads the record of a finished run once."""

    def __init__(
        self,
        store: ResultStore,
        cells: Sequence[str] | None = None,
        seeds: Sequence[int] | None = None,
    ) -> None:
        """Watch the runs of these cells, given as in `Study.select`, and seeds; None for all."""
        self._store, self._cells, self._seeds = store, cells, seeds
        self._records: dict[str, Record] = {}
        self._sizes: dict[str, tuple[int, float]] = {}
        """By run, the bytes of its log, and the time at which they last grew."""

    def look(self) -> StudyProgress:
        """The present state.

        Raises:
            StudyError: if no study was run into this folder, or it has no such cell.
            StoredFileError: if the manifest is damaged.
        """
        manifest = self._store.manifest()
        runs: dict[str, RunProgress] = {}
        for cell in matching_cells(manifest.cells, self._cells):
            for seed, identity in sorted(cell.identities.items()):
                if identity not in runs and (self._seeds is None or seed in self._seeds):
                    runs[identity] = self._progress(manifest, cell, seed, identity)
        every = tuple(runs.values())
        return StudyProgress(manifest.title, manifest.metric, every, _seconds_left(every))

    def _progress(
        self, manifest: Manifest, cell: ManifestCell, seed: int, identity: str
    ) -> RunProgress:
        run = RunProgress(cell.group, cell.name, seed, identity, RunState.ABSENT.value)
        try:
            record = self._records.get(identity) or self._store.record(identity)
            failure = None if record else self._store.failure(identity)
        except QuatrainError as error:
            return replace(run, state="damaged", message=str(error))
        if record is not None:
            self._records[identity] = record
            metric = record.metrics.get(manifest.metric)
            steps, seconds = record.steps, record.seconds
            return replace(
                run, state="done", step=steps, steps=steps, seconds=seconds, metric=metric
            )
        state = self._state(identity)
        if state == RunState.FAILED.value and failure is not None:
            message = f"{failure.reason}: {failure.message}"
            return replace(run, state=state, step=failure.step, message=message)
        return replace(run, state=state, **self._speed(cell, identity))

    def _state(self, identity: str) -> str:
        state, now = self._store.state(identity), time.monotonic()
        size = _size(self._store.files(identity) / "metrics.jsonl")
        before, grown = self._sizes.get(identity, (size, -math.inf))
        if size != before:
            grown = now
        self._sizes[identity] = size, grown
        is_active = state in {RunState.ABSENT, RunState.PAUSED} and now - grown < ACTIVE_SECONDS
        return RunState.RUNNING.value if is_active else state.value

    def _speed(self, cell: ManifestCell, identity: str) -> dict[str, Any]:
        """Step, steps and seconds of a run that has not ended."""
        step = last_step(self._store, identity)
        steps = _planned_steps(self._store.folder(identity)) or self._steps_of(cell)
        seconds: Any = last_values(self._store, identity).get("seconds")
        is_time = type(seconds) in {int, float} and 0 <= seconds < math.inf
        seconds = seconds if is_time else None
        left = None
        if step and steps and seconds is not None:
            left = max(0, steps - step) * seconds / step
        return {"step": step, "steps": steps, "seconds": seconds, "seconds_left": left}

    def _steps_of(self, cell: ManifestCell) -> int | None:
        """The steps of another run of the cell."""
        records = map(self._records.get, cell.identities.values())
        return next((record.steps for record in records if record is not None), None)


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


def _planned_steps(folder: Path) -> int | None:
    """The steps of the recipe in spec.json, if it has one."""
    try:
        content = read_regular(folder / "spec.json", "")
        steps = json.loads(content or b"{}")["recipe"]["steps"]
    except (QuatrainError, ValueError, TypeError, KeyError, RecursionError):
        return None
    return steps if type(steps) is int and steps > 0 else None


def _seconds_left(runs: Sequence[RunProgress]) -> float | None:
    """The time left if as many runs are trained at once as now.

    The duration of a run without steps is the mean of its cell, or of all cells if its own is
    unknown.
    """
    durations: dict[tuple[str, str], list[float]] = {}
    for run in runs:
        is_known = run.state == "done" or run.seconds_left is not None
        if run.seconds is not None and is_known:
            total = run.seconds + (run.seconds_left or 0.0)
            durations.setdefault((run.group, run.cell), []).append(total)
    running = [run for run in runs if run.state == "running"]
    waiting = [run for run in runs if run.state in {"absent", "paused"}]
    if not running or not durations:
        return None
    means = {cell: statistics.fmean(own) for cell, own in durations.items()}
    overall = statistics.fmean(means.values())
    left = [
        means.get((run.group, run.cell), overall) if run.seconds_left is None else run.seconds_left
        for run in (*running, *waiting)
    ]
    return max(sum(left) / len(running), *left[: len(running)])
