"""Learning curves: the lines of each run's metrics.jsonl, averaged over the seeds of a cell.

    {"step": 100, "loss": 4.0, ...}  and  {"step": 100, "loss": 4.2, ...}   ->   4.1 at step 100

A mean is taken at the steps that all logged runs of the cell have reached: a run that is behind
shortens the curve.
"""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from pydantic_core import from_json
from typing_extensions import TypeIs

from quatrain.report.runs import ReportedRun, StudyRuns
from quatrain.results import ManifestCell
from quatrain.results.files import read_regular
from quatrain.results.record import LARGEST
from quatrain.specs import StoredFileError
from quatrain.specs.errors import shorten

_LARGEST_LOG = 2**28
"""Bytes of the largest log that is read: about 2,000,000 lines."""
_REMEDY = "delete {}, which is for the learning curves only"

Point = tuple[float, float | None]
"""A value, and the seconds of training, if they are known."""
Log = Mapping[str, Mapping[int, Point]]
"""By metric and step."""


@dataclass(frozen=True)
class Curve:
    """One logged metric of one cell, a mean over seeds at each step."""

    group: str
    cell: str
    name: str
    steps: tuple[int, ...]
    values: tuple[float, ...]
    seconds: tuple[float, ...] = ()
    """Mean seconds of training at each step; empty if a log lacks them."""


def learning_curves(study: StudyRuns) -> list[Curve]:
    """The curves of the loss, the validation loss and the primary metric in validation.

    StoredFileError if a line of a log is damaged, unless it is a last line still being written.
    """
    names = list(dict.fromkeys(("loss", "valid_loss", *validation_names(study.manifest.metric))))
    logs = {identity: _read_log(run, names) for identity, run in study.runs.items()}
    return [
        curve
        for name in names
        for cell in study.manifest.cells
        if (curve := _curve(cell, name, [logs[run] for run in cell.identities.values()]))
    ]


def validation_names(metric: str) -> tuple[str, ...]:
    """The names of the primary metric in logs of validation, in order of preference."""
    return f"valid_{metric}", f"valid_greedy_{metric}", metric


def _curve(cell: ManifestCell, name: str, logs: Sequence[Log]) -> Curve | None:
    series = [log[name] for log in logs if name in log]
    steps = sorted(set.intersection(*map(set, series))) if series else []
    if not steps:
        return None
    means = tuple(statistics.fmean(points[step][0] for points in series) for step in steps)
    times = [[points[step][1] for points in series] for step in steps]
    known = [[time for time in line if time is not None] for line in times]
    seconds = tuple(map(statistics.fmean, known)) if known == times else ()
    return Curve(cell.group, cell.name, name, tuple(steps), means, seconds)


def _read_log(run: ReportedRun, names: Sequence[str]) -> Log:
    """The metrics `names` of a run's log; values that are not finite numbers are left out."""
    path = run.folder / "metrics.jsonl"
    content = read_regular(path, _REMEDY.format("this file"), _LARGEST_LOG)
    if content is None:
        return {}
    entries = _parse(path, content)
    log = {name: _points(entries, name) for name in names}
    return {name: points for name, points in log.items() if points}


def _points(entries: Sequence[Mapping[str, Any]], name: str) -> dict[int, Point]:
    points: dict[int, Point] = {}
    for entry in entries:
        if name not in entry:
            continue
        value, seconds = entry[name], entry.get("seconds")
        if _is_finite(value):
            points[entry["step"]] = float(value), float(seconds) if _is_finite(seconds) else None
        else:
            points.pop(entry["step"], None)  # of a step that is logged again after a resume
    return points


def _parse(path: Path, content: bytes) -> list[dict[str, Any]]:
    """The lines of a log, without a last line that is still being written."""
    whole, _, _unfinished = content.rpartition(b"\n")
    entries = _from_json(b"[%b]" % whole.replace(b"\n", b","))  # much faster than line by line
    is_list = isinstance(entries, list) and len(entries) == whole.count(b"\n") + 1
    if is_list and all(map(_has_step, entries)):
        return entries
    lines = [line for line in whole.decode(errors="replace").split("\n") if line.strip()]
    entries = [_from_json(line) for line in lines]
    for number, (line, entry) in enumerate(zip(lines, entries, strict=True), 1):
        if not _has_step(entry):
            field, remedy = f"{path}, line {number}", _REMEDY.format("this line")
            message = f"{field} is {shorten(line)}, not JSON with a step; {remedy}"
            raise StoredFileError(message, field)
    return entries


def _has_step(entry: object) -> bool:
    step: object = cast("dict[str, object]", entry).get("step") if type(entry) is dict else None
    return type(step) is int and 0 <= step < 2**63


def _from_json(text: str | bytes) -> Any:
    try:
        return from_json(text)
    except ValueError:
        return None


def _is_finite(value: object) -> TypeIs[int | float]:
    return isinstance(value, int | float) and abs(value) <= LARGEST
