"""The expected values of a study file beside the measured ones."""

from collections.abc import Sequence

from quatrain.report.column import ABSENT, Column, Value, text_column
from quatrain.report.metric_names import title_of
from quatrain.report.tables import ReportRow, ReportTable

NOT_MET = "not met"
"""Verdict of a cell whose primary metric is outside the expected bounds."""


def expectation_columns(rows: Sequence[ReportRow]) -> list[Column]:
    """The expected bounds of each cell, and whether its mean lies within."""
    verdicts = {True: "met", False: NOT_MET, None: ABSENT}
    return [
        text_column("expected", [row.expected.bounds if row.expected else ABSENT for row in rows]),
        text_column("verdict", [verdicts[row.as_expected] for row in rows]),
    ]


def reason_columns(table: ReportTable) -> list[Column]:
    """The expected bounds and the reason for them, of each cell that has some."""
    rows = [(row, row.expected) for row in table.rows if row.expected is not None]
    return [
        text_column("group", [row.group for row, _ in rows]),
        text_column("cell", [row.cell for row, _ in rows]),
        text_column(title_of(table.metric), [expected.bounds for _, expected in rows]),
        text_column("because", [expected.because for _, expected in rows]),
    ]


def expected_as_json(row: ReportRow) -> dict[str, Value]:
    """The bounds, the verdict and the reason of one cell."""
    expected = row.expected
    return {
        "expected_low": expected.low if expected else None,
        "expected_high": expected.high if expected else None,
        "as_expected": row.as_expected,
        "because": expected.because if expected else None,
    }
