"""What a study will take: for each run its state, and an estimate of its hours.

The hours come from the records of the same cell with other seeds, if there are any. Otherwise
they are unknown, unless a probe is asked for, which trains each cell for some seconds.
"""

import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, cast, runtime_checkable

from quatrain.results import Record, ResultStore
from quatrain.study.execute import Train
from quatrain.study.grid import Run, Study, TaskSpec
from quatrain.study.manifest import runs_of_manifest

if TYPE_CHECKING:
    from quatrain.training import Progress

_SHOWN = 10


@runtime_checkable
class Priced(Protocol):
    """A task spec whose cost at full scale can be told beforehand."""

    def gpu_hours(self) -> float:
        """Hours of one run on one GPU; the docstring of the spec says of which kind."""
        ...


@dataclass(frozen=True)
class Duration:
    """How long one run takes: its steps, and the seconds of training."""

    steps: int
    seconds: float


@dataclass(frozen=True)
class PlannedRun:
    """One run of the plan; None where nothing is known."""

    cells: tuple[str, ...]
    seed: int
    identity: str
    state: str
    steps: int | None
    hours: float | None
    source: str
    gpu_hours: float | None


@dataclass(frozen=True, kw_only=True)
class Probe:
    """Train each cell for `seconds`, and extend what was seen to the whole run."""

    data: Path | None
    device: str
    train: Train
    seconds: float = 10.0


def plan_study(
    study: Study, store: ResultStore, runs: Sequence[Run], probe: Probe | None = None
) -> list[PlannedRun]:
    """The state and the estimated duration of each of `runs`."""
    shared = {cell.label: study.identity(cell, 0) for cell in study.cells}
    own: dict[str, Duration] = {}
    finished: dict[str, list[Record]] = {}
    for run in _all_runs(study, store, runs):
        record = store.record(run.identity)
        if record is not None:
            own[run.identity] = Duration(record.steps, record.seconds)
            finished.setdefault(shared[run.labels[0]], []).append(record)
    of_cell = {cell: _mean(records) for cell, records in finished.items()}
    probed: dict[str, Duration] = {}
    planned: list[PlannedRun] = []
    for run in runs:
        duration, source = of_cell.get(shared[run.labels[0]], (None, "unknown"))
        if run.identity in own:
            duration, source = own[run.identity], "record"
        if duration is None and probe is not None:
            key = run.spec.to_json()
            probed[key] = probed.get(key) or measure_pace(run, probe)
            duration, source = probed[key], "probe"
        planned.append(_planned(run, store, duration, source))
    return planned


def _all_runs(study: Study, store: ResultStore, runs: Sequence[Run]) -> list[Run]:
    """Each of `runs` and of the runs that the study or its manifest has, seed by seed."""
    every = [*study.select(), *runs_of_manifest(study, store), *runs]
    distinct = {run.identity: run for run in every}
    return sorted(distinct.values(), key=lambda run: run.seed)


def _mean(records: Sequence[Record]) -> tuple[Duration, str]:
    """How long the runs of a cell took, and which."""
    mean = sum(record.seconds for record in records) / len(records)
    seeds = [str(record.seed) for record in records]
    more = f" and {len(seeds) - _SHOWN:,} more" if len(seeds) > _SHOWN else ""
    return Duration(records[0].steps, mean), f"records of seeds {', '.join(seeds[:_SHOWN])}{more}"


def _planned(run: Run, store: ResultStore, duration: Duration | None, source: str) -> PlannedRun:
    return PlannedRun(
        cells=run.labels,
        seed=run.seed,
        identity=run.identity,
        state=store.state(run.identity).value,
        steps=duration.steps if duration else None,
        hours=duration.seconds / 3600 if duration else None,
        source=source,
        gpu_hours=run.spec.gpu_hours() if isinstance(run.spec, Priced) else None,
    )


class _SeenEnoughError(Exception):
    """Ends a probe from within the training loop, which has no other way to be stopped."""


def measure_pace(run: Run, probe: Probe) -> Duration:
    """Train `run` in a temporary folder until its pace is known."""
    reports: list[tuple[float, int]] = []
    steps = 0

    def listen(progress: "Progress") -> None:
        nonlocal steps
        steps = progress.steps
        reports.append((time.monotonic(), progress.step))
        if reports[-1][0] - reports[0][0] >= probe.seconds:
            raise _SeenEnoughError

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        task = cast("TaskSpec", run.spec).open(probe.data, folder, run.seed)
        started = time.monotonic()
        try:
            result = probe.train(task, folder, seed=run.seed, device=probe.device, notify=listen)
        except _SeenEnoughError:
            return Duration(steps, _extended(reports, steps))
    return Duration(result.steps, time.monotonic() - started)


def _extended(reports: Sequence[tuple[float, int]], steps: int) -> float:
    """Seconds of `steps` steps at the pace between the first and the last report."""
    (begin, first), (end, last) = reports[0], reports[-1]
    return (end - begin) * steps / max(1, last - first)
