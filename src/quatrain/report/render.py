"""The tables as text: for the terminal, as Markdown, as CSV and as rows for JSON.

CSV and JSON keep every digit and the base unit. Tables for people are rounded and scaled, with the
unit in the header, for example `training, min` or `G multiply-adds`.
"""

import csv
import io
from collections.abc import Sequence

from quatrain.report.build import Report
from quatrain.report.column import (
    ABSENT,
    Column,
    Value,
    format_fixed,
    number_column,
    text_column,
)
from quatrain.report.differences import DifferenceTable
from quatrain.report.escape import for_markdown, for_spreadsheet, visible
from quatrain.report.expectations import expectation_columns, expected_as_json, reason_columns
from quatrain.report.matrix import MATRIX_LEGEND, matrix_columns
from quatrain.report.metric_names import title_of
from quatrain.report.tables import ReportRow, ReportTable
from quatrain.report.validation import validation_columns
from quatrain.results import RunState, Summary
from quatrain.specs.extras import name_missing_extra

with name_missing_extra():
    from rich import box
    from rich.table import Table
    from rich.text import Text

Units = Sequence[tuple[float, str]]

UNITS: dict[str, Units] = {
    "multiply_adds": ((1e6, "M multiply-adds"), (1e9, "G multiply-adds")),
    "parameters": ((1e3, "K parameters"), (1e6, "M parameters")),
    "training_seconds": ((1.0, "training, s"), (60.0, "training, min"), (3600.0, "training, h")),
    "latency_seconds": ((1e-3, "latency, ms"), (1.0, "latency, s")),
    "peak_bytes": ((2.0**20, "memory, MiB"), (2.0**30, "memory, GiB")),
}
"""For each quantity of a row, the units in which it is shown: size and header."""

VERDICT_LEGEND = (
    "Inconclusive: the 95 % interval contains zero. p is adjusted for the number of differences "
    '(Holm); where it is above 0.05, the verdict says "unadjusted". Intervals are not adjusted; '
    "they cover the variation between seeds, not the choice of test examples."
)
EQUAL_LEGEND = "Equal differences have zero variance: they are inconclusive, with p = 1."


def cell_columns(table: ReportTable) -> list[Column]:
    """The columns of the table of cells.

    Columns without information are left out: quantities that were not measured, a spec that all
    cells share, the state when all runs are done, and expectations if the study states none.
    """
    rows = table.rows
    primary, *metrics = [_metric_column(rows, name) for name in table.metric_names]
    specs = [row.spec_name for row in rows]
    states = [row.state for row in rows]
    seeds = [f"{row.seeds_done}/{row.seeds_planned}" for row in rows]
    quantities = [_scaled([row.quantities[name] for row in rows], UNITS[name]) for name in UNITS]
    return [
        text_column("group", [row.group for row in rows]),
        text_column("cell", [row.cell for row in rows]),
        *([text_column("spec", specs)] if len(set(specs)) > 1 else []),
        primary,
        *(expectation_columns(rows) if table.has_expectations else []),
        *metrics,
        Column("seeds", tuple(seeds), tuple(row.seeds_done for row in rows), numeric=True),
        *(column for column in quantities if any(v is not None for v in column.values)),
        *([text_column("state", states)] if {*states} != {RunState.DONE.value} else []),
    ]


def difference_columns(table: DifferenceTable) -> list[Column]:
    """The columns of the table of differences."""
    rows = table.rows
    summaries = [row.summary for row in rows]
    bounds = [(s.mean, s.low or 0.0, s.high or 0.0) for s in summaries if s]
    places = _decimals([bound for triple in bounds for bound in triple], metric=True)
    texts = tuple(_signed(summary, places) for summary in summaries)
    means = tuple(summary.mean if summary else None for summary in summaries)
    seeds = [summary.n if summary else 0 for summary in summaries]
    published = [row.published for row in rows]
    return [
        text_column("group", [row.group for row in rows]),
        text_column("difference", [f"{row.left} − {row.right}" for row in rows]),
        Column(f"{title_of(table.metric)} [95 %]", texts, means, numeric=True),
        number_column("seeds", seeds, str),
        number_column("adjusted p", [row.adjusted_p for row in rows], _format_p),
        text_column("verdict", [row.verdict for row in rows]),
        *(
            [number_column("published", published, lambda value: format_fixed(value, 2, "+"))]
            if table.has_published
            else []
        ),
    ]


def verdict_legend(table: DifferenceTable) -> str:
    """The meaning of the verdicts in the table."""
    equal = any(row.summary and row.summary.zero_variance for row in table.rows)
    return f"{VERDICT_LEGEND} {EQUAL_LEGEND}" if equal else VERDICT_LEGEND


def to_terminal(columns: Sequence[Column], title: str) -> Table:
    """A table for `rich.console.Console`, in which a group is named once."""
    table = Table(
        title=Text(visible(title)),
        title_justify="left",
        box=box.SIMPLE_HEAD,
        pad_edge=False,
        padding=(0, 1),
    )
    for column in columns:
        justify = "right" if column.numeric else "left"
        header = Text(visible(column.header).replace(" ", "\n", 1))
        table.add_column(header, justify=justify, no_wrap=column.numeric, overflow="fold")
    group = ""
    for first, *texts in zip(*(column.texts for column in columns), strict=True):
        line = ["" if first == group else first, *texts]
        table.add_row(*(Text(visible(text)) for text in line))
        group = first
    return table


def to_markdown(columns: Sequence[Column]) -> str:
    """A Markdown table."""
    rows = zip(*(column.texts for column in columns), strict=True)
    lines = [
        [for_markdown(column.header) for column in columns],
        ["---:" if column.numeric else "---" for column in columns],
        *([for_markdown(text) for text in row] for row in rows),
    ]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def markdown_page(report: Report) -> str:
    """Title, question, matrix, tables, notes and expectations of a report."""
    table, differences, matrix = report.table, report.differences, report.matrix
    parts = [f"# {for_markdown(table.title)}\n", f"{for_markdown(table.question, block=True)}\n"]
    if matrix is not None:
        parts += [to_markdown(matrix_columns(matrix)), f"{MATRIX_LEGEND}\n"]
    parts.append(to_markdown(cell_columns(table)))
    parts.append("Mean ± half the 95 % interval over seeds (Student's t).\n")
    if differences.rows:
        parts.append("## Differences, paired by seed\n")
        parts.append(to_markdown(difference_columns(differences)))
        parts.append(f"{verdict_legend(differences)}\n")
        if differences.has_published:
            parts.append("Published: the difference reported by others, in their own setting.\n")
    validation = validation_columns(report.curves, table.metric)
    if validation:
        parts += ["## Validation during training\n", to_markdown(validation)]
    if table.notes:
        parts.append("## Notes\n")
        parts.append("".join(f"- {for_markdown(note, block=True)}\n" for note in table.notes))
    if table.has_expectations:
        parts += ["## Expectations\n", to_markdown(reason_columns(table))]
    return "\n".join(parts)


def rows_as_json(table: ReportTable) -> list[dict[str, Value]]:
    """One flat dictionary per cell, all with the same keys, in base units."""
    rows = [_flat(row, table.metric_names) for row in table.rows]
    if not table.has_expectations:
        return rows
    return [flat | expected_as_json(row) for flat, row in zip(rows, table.rows, strict=True)]


def differences_as_json(table: DifferenceTable) -> list[dict[str, Value]]:
    """One flat dictionary per difference."""
    return [
        {
            "group": row.group,
            "left": row.left,
            "right": row.right,
            "metric": table.metric,
            **{name: getattr(row.summary, name, None) for name in ("mean", "low", "high")},
            "seeds": row.summary.n if row.summary else 0,
            "p": row.summary.p if row.summary else None,
            "adjusted_p": row.adjusted_p,
            "verdict": row.verdict,
            "published": row.published,
        }
        for row in table.rows
    ]


def to_csv(rows: Sequence[dict[str, Value]]) -> str:
    """The rows of `rows_as_json` or `differences_as_json` as CSV with a header line.

    Texts that a spreadsheet would evaluate as a formula begin with an apostrophe.
    """
    if not rows:
        return ""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    for line in ([*rows[0]], *([*row.values()] for row in rows)):
        writer.writerow(for_spreadsheet(x) if isinstance(x, str) else x for x in line)
    return text.getvalue()


def scale_of(values: Sequence[float | None], units: Units) -> tuple[float, str]:
    """The largest unit in which the largest value is at least 1, else the smallest.

    Example:
        >>> scale_of([2.5e9, 8e8], UNITS["multiply_adds"])
        (1000000000.0, 'G multiply-adds')
    """
    largest = max((abs(value) for value in values if value is not None), default=0.0)
    return next((unit for unit in reversed(units) if largest >= unit[0]), units[0])


def _flat(row: ReportRow, names: Sequence[str]) -> dict[str, Value]:
    metrics: dict[str, Value] = {}
    for name in names:
        for part, suffix in (("mean", ""), ("low", "_low"), ("high", "_high")):
            metrics[name + suffix] = getattr(row.metrics.get(name), part, None)
    return {
        "group": row.group,
        "cell": row.cell,
        "spec": row.spec_name,
        **metrics,
        "seeds": row.seeds_done,
        "seeds_planned": row.seeds_planned,
        **row.quantities,
        "state": row.state,
    }


def _format_p(p: float) -> str:
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


def _metric_column(rows: Sequence[ReportRow], name: str) -> Column:
    summaries = [row.metrics.get(name) for row in rows]
    means = [summary.mean if summary else None for summary in summaries]
    places = _decimals([mean for mean in means if mean is not None], metric=True)
    texts = tuple(_interval(summary, places) for summary in summaries)
    return Column(title_of(name), texts, tuple(means), numeric=True)


def _scaled(values: Sequence[float | None], units: Units) -> Column:
    size, header = scale_of(values, units)
    places = _decimals([value / size for value in values if value is not None], metric=False)
    return number_column(header, values, lambda value: format_quantity(value / size, places))


def format_quantity(value: float, places: int) -> str:
    """A nonnegative quantity; one that would round to zero becomes an upper bound.

    Example:
        >>> format_quantity(1.234, 2), format_quantity(0.0, 2)
        ('1.23', '< 0.01')
    """
    least = 10.0**-places
    return format_fixed(value, places) if value >= least / 2 else f"< {least:.{places}f}"


def _decimals(values: Sequence[float], *, metric: bool) -> int:
    largest = max(map(abs, values), default=0.0)
    if metric:
        return 2 if largest >= 1 or largest == 0 else 4
    return 1 if largest >= 100 else 2


def _interval(summary: Summary | None, places: int) -> str:
    if summary is None:
        return ABSENT
    if summary.low is None or summary.high is None:
        return format_fixed(summary.mean, places)
    half = (summary.high - summary.low) / 2
    return f"{format_fixed(summary.mean, places)} ± {format_fixed(half, places)}"


def _signed(summary: Summary | None, places: int) -> str:
    if summary is None:
        return ABSENT
    if summary.low is None or summary.high is None:
        return format_fixed(summary.mean, places, "+")
    mean, low, high = (
        format_fixed(x, places, "+") for x in (summary.mean, summary.low, summary.high)
    )
    return f"{mean} [{low}, {high}]"
