"""The table of cells: its columns, with the best cell of each group and those tied with it."""

from collections.abc import Sequence
from dataclasses import dataclass

from quatrain.report.build import Report
from quatrain.report.columns import Column, Value, cell_columns
from quatrain.report.ranking import Mark, judged_metrics, mark_best
from quatrain.report.text import title_of

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
    marks = {
        headers.index(title_of(name)): mark_best(report, name) for name in judged_metrics(report)
    }
    hidden: frozenset[int] = frozenset()
    if len(columns) > MOST_COLUMNS:
        minor = {title_of(name) for name in report.table.metric_names[_FIRST_METRICS:]}
        hidden = frozenset(n for n, name in enumerate(headers) if name in minor and n not in marks)
    grid = build_grid(columns, marks)
    return Grid(grid.columns, grid.rows, hidden)
