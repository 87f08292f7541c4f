"""The best cell of each group in a metric, and the cells that are tied with it."""

from typing import Literal

from quatrain.report.build import Report
from quatrain.results.fit import Fit

Mark = Literal["best", "tied", ""]


def judged_metrics(report: Report) -> list[str]:
    """The metrics of which the study declares whether higher or lower is better."""
    better = report.study.manifest.better
    return [name for name in report.table.metric_names if better(name)]


def mark_best(report: Report, metric: str) -> list[Mark]:
    """The mark of each row of `report.table`.

    The best cell has the highest mean of its group, or the lowest if the study declares so. A cell
    is tied with it if the 95 % interval of their difference contains zero. A group with one cell
    has no marks, and neither has a metric of which the study declares no direction.
    """
    better = report.study.manifest.better(metric)
    if not better:
        return [""] * len(report.table.rows)
    marks: dict[tuple[str, str], Mark] = {}
    for group in report.groups.names:
        fitted = report.groups.fit(group, metric)
        if fitted is not None:
            own = _marks_of(fitted, lower=better < 0)
            marks.update({(group, cell): mark for cell, mark in own.items()})
    return [marks.get((row.group, row.cell), "") for row in report.table.rows]


def _marks_of(fitted: Fit, *, lower: bool) -> dict[str, Mark]:
    means = {cell: sum(own.values()) / len(own) for cell, own in fitted.values.items()}
    if len(means) < 2:
        return {}
    target = min(means.values()) if lower else max(means.values())
    best = next(cell for cell, mean in means.items() if mean == target)
    marks: dict[str, Mark] = {}
    for cell, mean in means.items():
        if mean == target:
            marks[cell] = "best"
        elif _is_tied(fitted, best, cell):
            marks[cell] = "tied"
    return marks


def _is_tied(fitted: Fit, best: str, cell: str) -> bool:
    """Whether the interval of the difference to the best cell contains zero."""
    weights = {best: 1.0, cell: -1.0}
    if not fitted.can_estimate(weights):
        return False
    found = fitted.contrast(weights)
    return found.low is not None and found.high is not None and found.low <= 0 <= found.high
