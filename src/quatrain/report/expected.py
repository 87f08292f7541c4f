"""What a study file expects of its cells, beside what they reached."""

from collections.abc import Sequence

from quatrain.report.column import ABSENT, Column, Value, words
from quatrain.report.names import title_of
from quatrain.report.tables import ReportRow, ReportTable

AGAINST = "against"
"""The word for a cell that did not come as expected."""


def expectation_columns(rows: Sequence[ReportRow]) -> list[Column]:
    """The bounds of each cell, and whether its mean lies within."""
    verdicts = {True: "as expected", False: AGAINST, None: ABSENT}
    return [
        words("expected", [row.expected.bounds if row.expected else ABSENT for row in rows]),
        words("verdict", [verdicts[row.as_expected] for row in rows]),
    ]


def reason_columns(table: ReportTable) -> list[Column]:
    """What was expected of each cell, and why."""
    rows = [(row, row.expected) for row in table.rows if row.expected is not None]
    return [
        words("group", [row.group for row, _ in rows]),
        words("cell", [row.cell for row, _ in rows]),
        words(title_of(table.metric), [expected.bounds for _, expected in rows]),
        words("because", [expected.because for _, expected in rows]),
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
