"""The matrix of a study whose groups have the same cells: mechanisms down, questions across.

            saliency      offset
0010       100.0 (≥ 95)   14.7 (≤ 25)
0001        13.2 (≤ 25)  100.0 (≥ 95)
"""

from collections.abc import Mapping
from dataclasses import dataclass

from quatrain.report.column import ABSENT, Column, format_fixed, text_column
from quatrain.report.expectations import NOT_MET
from quatrain.report.tables import ReportRow, ReportTable

MATRIX_LEGEND = "Measured value; expected value in brackets."


@dataclass(frozen=True)
class Matrix:
    """The rows of a report by (cell, group)."""

    metric: str
    cells: tuple[str, ...]
    groups: tuple[str, ...]
    rows: Mapping[tuple[str, str], ReportRow]


def build_matrix(table: ReportTable) -> Matrix | None:
    """The cells as a matrix; None unless there are two groups and all have the same cells."""
    groups = tuple(dict.fromkeys(row.group for row in table.rows))
    cells = tuple(dict.fromkeys(row.cell for row in table.rows))
    if len(groups) < 2 or len(table.rows) != len(groups) * len(cells):
        return None
    rows = {(row.cell, row.group): row for row in table.rows}
    return Matrix(table.metric, cells, groups, rows)


def format_mean(row: ReportRow, metric: str) -> str:
    """The mean of the primary metric with one decimal place."""
    summary = row.metrics.get(metric)
    return ABSENT if summary is None else format_fixed(summary.mean, 1)


def matrix_columns(matrix: Matrix) -> list[Column]:
    """The primary metric of each cell by group, with its expected value in brackets."""
    columns = [text_column("cell", list(matrix.cells))]
    for group in matrix.groups:
        rows = [matrix.rows[cell, group] for cell in matrix.cells]
        summaries = [row.metrics.get(matrix.metric) for row in rows]
        texts = tuple(f"{format_mean(row, matrix.metric)}{_expectation(row)}" for row in rows)
        means = tuple(summary.mean if summary else None for summary in summaries)
        columns.append(Column(group, texts, means, numeric=True))
    return columns


def _expectation(row: ReportRow) -> str:
    if row.expected is None:
        return ""
    return f" ({row.expected.bounds}{f', {NOT_MET}' if row.as_expected is False else ''})"
