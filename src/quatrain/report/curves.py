"""Learning curves: the lines of each run's metrics.jsonl, averaged over the seeds of a cell.

    {"step": 100, "loss": 4.0, ...}  and  {"step": 100, "loss": 4.2, ...}   ->   4.1 at step 100

The mean is taken at steps that all runs of the cell with a log have reached, so a run that is
still behind shortens the curve and never bends it.
"""

import json
import statistics
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from quatrain.report.runs import Run, StudyRuns
from quatrain.results import ManifestCell
from quatrain.results.reading import read_regular
from quatrain.results.record import LARGEST
from quatrain.specs import StoredFileError

_LONGEST = 2**28
"""Bytes of the longest log that is read: 2,000,000 lines."""
_REMEDY = "delete {}; it feeds the learning curves only"


@dataclass(frozen=True)
class Curve:
    """One logged quantity of one cell, a mean over seeds at each step."""

    group: str
    cell: str
    name: str
    steps: tuple[int, ...]
    values: tuple[float, ...]
    seconds: tuple[float, ...] = ()
    """How long trainings had taken at each step; empty where a log does not say."""


def learning_curves(study: StudyRuns) -> list[Curve]:
    """The curves of the loss, the validation loss and the primary metric on the validation side.

    Raises:
        StoredFileError: if a log is damaged anywhere but in a last line still being written.
    """
    logs = {identity: _read_log(run) for identity, run in study.runs.items()}
    return [
        curve
        for name in dict.fromkeys(("loss", "valid_loss", *validation_names(study.manifest.metric)))
        for cell in study.manifest.cells
        if (curve := _curve(cell, name, [logs[one] for one in cell.identities.values()]))
    ]


def validation_names(metric: str) -> tuple[str, ...]:
    """What logs may call the primary metric of the validation side, the plainest name last."""
    return f"valid_{metric}", f"valid_greedy_{metric}", metric


def _curve(cell: ManifestCell, name: str, logs: list[list[dict[str, Any]]]) -> Curve | None:
    series = [_points(log, name) for log in logs]
    series = [points for points in series if points]
    if not series:
        return None
    steps = sorted(set.intersection(*(set(points) for points in series)))
    means = tuple(statistics.fmean(points[step] for points in series) for step in steps)
    if not steps:
        return None
    times = [_points(log, "seconds", beside=name) for log in logs]
    times = [points for points in times if points]
    known = bool(times) and all(step in points for points in times for step in steps)
    seconds = [statistics.fmean(points[step] for points in times) for step in steps if known]
    return Curve(cell.group, cell.name, name, tuple(steps), means, tuple(seconds))


def _points(log: list[dict[str, Any]], name: str, beside: str | None = None) -> dict[int, float]:
    """What lines say of `name` by their step, of those that hold `beside` too.

    NaN, infinities and what no sum can be made of are left out.
    """
    last = {line["step"]: line[name] for line in log if name in line and (beside or name) in line}
    return {
        step: float(value)
        for step, value in last.items()
        if isinstance(value, int | float) and abs(value) <= LARGEST
    }


def _read_log(run: Run) -> list[dict[str, Any]]:
    path = run.folder / "metrics.jsonl"
    content = read_regular(path, _REMEDY.format("this file"), _LONGEST)
    if content is None:
        return []
    lines = content.decode(errors="replace").split("\n")
    whole = [line for line in lines[:-1] if line.strip()]  # after the last newline: half a line
    return [_parse(path, number, line) for number, line in enumerate(whole, 1)]


def _parse(path: Path, number: int, line: str) -> dict[str, Any]:
    try:
        found = json.loads(line)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict) or not _is_step(found.get("step")):
        remedy = _REMEDY.format("this line")
        raise StoredFileError(f"{path}, line {number}", line[:80], "JSON with a step", remedy)
    return found


def _is_step(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**63
