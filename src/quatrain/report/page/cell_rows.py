"""The table of cells: its columns, with the best cell of each group and those tied with it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from quatrain.report.build import Report
from quatrain.report.columns import Column, Value, cell_columns
from quatrain.report.text import title_of
from quatrain.results.fit import Fit

Mark = Literal["best", "tied", ""]
MOST_COLUMNS = 12
"""Columns that are shown at first; others can be selected."""
_FIRST_METRICS = 3


@dataclass(frozen=True)
class TableCell:
    """A cell of a table: its text, the value to sort by, and its mark."""

    text: str
    value: Value
    mark: Mark = ""


@dataclass(frozen=True)
class Grid:
    """A table by rows; `hidden` are the columns that are not shown at first."""

    columns: tuple[Column, ...]
    rows: tuple[tuple[TableCell, ...], ...]
    hidden: frozenset[int] = frozenset()


def build_grid(columns: Sequence[Column], marks: dict[int, list[Mark]] | None = None) -> Grid:
    """The rows of some columns; `marks` by the number of the column."""
    found = marks or {}
    cells: list[list[TableCell]] = []
    for number, column in enumerate(columns):
        pairs = zip(column.texts, column.values, strict=True)
        own = found.get(number)
        cells.append([TableCell(*pair, own[row] if own else "") for row, pair in enumerate(pairs)])
    return Grid(tuple(columns), tuple(zip(*cells, strict=True)))


def build_cells(report: Report) -> Grid:
    """The table of all cells."""
    columns = cell_columns(report.table)
    headers = [column.header for column in columns]
    manifest = report.study.manifest
    marks = {
        headers.index(title_of(name)): mark_best(report, name)
        for name in dict.fromkeys((manifest.metric, manifest.compared_in))
        if name is not None and title_of(name) in headers
    }
    hidden: frozenset[int] = frozenset()
    if len(columns) > MOST_COLUMNS:
        minor = {title_of(name) for name in report.table.metric_names[_FIRST_METRICS:]}
        hidden = frozenset(n for n, name in enumerate(headers) if name in minor and n not in marks)
    grid = build_grid(columns, marks)
    return Grid(grid.columns, grid.rows, hidden)


def mark_best(report: Report, metric: str) -> list[Mark]:
    """Which rows are the best of their group, and which differ from it by no more than noise."""
    by_cell: dict[tuple[str, str], Mark] = {}
    for group in report.groups.names:
        fitted = report.groups.fit(group, metric)
        if fitted is not None:
            own = _marks_of(fitted, lower=report.study.manifest.lower_is_better)
            by_cell.update({(group, cell): mark for cell, mark in own.items()})
    return [by_cell.get((row.group, row.cell), "") for row in report.table.rows]


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
    found = fitted.contrast({best: 1.0, cell: -1.0})
    return found.low is not None and found.high is not None and found.low <= 0 <= found.high
