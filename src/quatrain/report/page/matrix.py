"""The primary metric by mechanism and question, as a table with cells filled by their value."""

from dataclasses import dataclass

from quatrain.report.columns import format_mean
from quatrain.report.tables import Matrix


@dataclass(frozen=True)
class HeatCell:
    """A value as text, its fill from 0 to 100, its expected bounds and whether it misses them."""

    text: str
    fill: int
    expected: str
    missed: bool


@dataclass(frozen=True)
class Heat:
    """The cells of a matrix by row."""

    groups: tuple[str, ...]
    rows: tuple[tuple[str, tuple[HeatCell, ...]], ...]


def build_heat(matrix: Matrix) -> Heat:
    """The rows of a matrix; the fill grows with the metric."""
    means = [row.metrics[matrix.metric].mean for row in matrix.rows.values() if row.metrics]
    low, high = min(means, default=0.0), max(means, default=0.0)
    rows: list[tuple[str, tuple[HeatCell, ...]]] = []
    for cell in matrix.cells:
        own = [matrix.rows[cell, group] for group in matrix.groups]
        cells = tuple(
            HeatCell(
                format_mean(row, matrix.metric),
                round(100 * (row.metrics[matrix.metric].mean - low) / ((high - low) or 1.0))
                if row.metrics
                else 0,
                row.expected.bounds if row.expected else "",
                row.as_expected is False,
            )
            for row in own
        )
        rows.append((cell, cells))
    return Heat(matrix.groups, tuple(rows))
