"""The columns of each table of a report: headers, cells as text, and the values to sort by.

Numbers are rounded and scaled, with the unit in the header: `training, min`, `G multiply-adds`.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from quatrain.report.curves import Curve, validation_names
from quatrain.report.differences import DifferenceRow, DifferenceTable
from quatrain.report.effects import GridEffects
from quatrain.report.tables import NOT_MET, Matrix, ReportRow, ReportTable
from quatrain.report.text import format_fixed, format_quantity, places_of, title_of
from quatrain.results import RunState, Summary, pluralize
from quatrain.results.fit import Estimate
from quatrain.results.resampling import Interval

Value = str | float | None
Units = Sequence[tuple[float, str]]

ABSENT = "–"
MAX_STEPS = 10
"""Steps of a validation curve that its table has, the last one included."""

UNITS: dict[str, Units] = {
    "multiply_adds": ((1e6, "M multiply-adds"), (1e9, "G multiply-adds")),
    "paper_multiply_adds": (
        (1e6, "M multiply-adds, paper's convention"),
        (1e9, "G multiply-adds, paper's convention"),
    ),
    "parameters": ((1e3, "K parameters"), (1e6, "M parameters")),
    "training_seconds": ((1.0, "training, s"), (60.0, "training, min"), (3600.0, "training, h")),
    "latency_seconds": ((1e-3, "latency, ms"), (1.0, "latency, s")),
    "peak_bytes": ((2.0**20, "memory, MiB"), (2.0**30, "memory, GiB")),
}
"""For each quantity of a row, the units in which it is shown: size and header."""

MATRIX_LEGEND = "Measured value; expected value in brackets."


@dataclass(frozen=True)
class Column:
    """A header, the cells as text, and the values to sort by."""

    header: str
    texts: tuple[str, ...]
    values: tuple[Value, ...]
    numeric: bool

    def at(self, rows: Sequence[int]) -> "Column":
        """The column of these rows only."""
        texts, values = ([items[row] for row in rows] for items in (self.texts, self.values))
        return replace(self, texts=tuple(texts), values=tuple(values))


def text_column(header: str, texts: Sequence[str]) -> Column:
    """A column of text, sorted alphabetically."""
    return Column(header, tuple(texts), tuple(texts), numeric=False)


def number_column(
    header: str, values: Sequence[float | None], write: Callable[[float], str]
) -> Column:
    """A column of numbers as text; None is a dash."""
    texts = tuple(ABSENT if value is None else write(value) for value in values)
    return Column(header, texts, tuple(values), numeric=True)


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
    quantities = [
        _quantity_column([row.quantities[name] for row in rows], units)
        for name, units in UNITS.items()
    ]
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
    estimates = [row.answer.estimate if row.answer else None for row in rows]
    places = table.places
    columns = [
        text_column("group", [row.comparison.group for row in rows]),
        text_column("difference", [row.name for row in rows]),
        Column(
            f"{title_of(table.metric)} [95 %]",
            tuple(format_estimate(e, places) if e else ABSENT for e in estimates),
            tuple(e.value if e else None for e in estimates),
            numeric=True,
        ),
        Column(
            "seeds",
            tuple(_seeds(row) for row in rows),
            tuple(row.seeds for row in rows),
            numeric=True,
        ),
        number_column(
            "adjusted p", [row.answer.adjusted_p if row.answer else None for row in rows], format_p
        ),
        text_column("verdict", [verdict_text(row, table.margin) for row in rows]),
        *_price_columns([row.price for row in rows]),
    ]
    if table.has_published:
        published = [row.comparison.published for row in rows]
        columns.insert(3, number_column("published", published, lambda x: format_fixed(x, 2, "+")))
    if table.has_test_noise:
        texts = [format_interval(row.over_test_examples, places) for row in rows]
        lows = [getattr(row.over_test_examples, "low", None) for row in rows]
        columns.insert(
            3, Column(f"over test {table.examples}", tuple(texts), tuple(lows), numeric=True)
        )
    return columns


def effect_columns(effects: Sequence[GridEffects], metric: str) -> list[Column]:
    """The effects of terms in the metric of the comparisons, each with its price."""
    rows = [(grid.group, row) for grid in effects for row in grid.rows]
    estimates = [row.estimate for _, row in rows]
    places = places_of(x for e in estimates for x in (e.value, e.low or 0.0, e.high or 0.0))
    full = all(row.averaged[0] == row.averaged[1] for _, row in rows)
    pairs = [ABSENT if row.aliases is None else "{} of {}".format(*row.averaged) for _, row in rows]
    return [
        text_column("group", [group for group, _ in rows]),
        text_column("effect", [row.kind for _, row in rows]),
        text_column("terms", [row.name for _, row in rows]),
        Column(
            f"{title_of(metric)} [95 %]",
            tuple(format_estimate(e, places) for e in estimates),
            tuple(e.value for e in estimates),
            numeric=True,
        ),
        number_column("p", [e.p for e in estimates], format_p),
        *_price_columns([row.price for _, row in rows]),
        *([] if full else [text_column("averaged over", pairs)]),
    ]


def verdict_text(row: DifferenceRow, margin: float | None) -> str:
    """The verdict, with the margin, or with the seeds that would settle it."""
    if row.outcome == "equivalent":
        return f"equivalent within {margin:g}"
    if row.answer is not None and row.answer.further_seeds is not None:
        return f"inconclusive, about {pluralize(row.answer.further_seeds, 'seed')} more"
    return row.outcome


def _seeds(row: DifferenceRow) -> str:
    """The common seeds: '3', or '2 of 3' while planned ones have not finished."""
    is_interim = row.answer is not None and not row.progress.is_complete
    return f"{row.seeds} of {row.progress.planned}" if is_interim else str(row.seeds)


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


def matrix_columns(matrix: Matrix) -> list[Column]:
    """The primary metric of each cell by group, with its expected value in brackets."""
    columns = [text_column("cell", matrix.cells)]
    for group in matrix.groups:
        texts, means = [], []
        for cell in matrix.cells:
            row = matrix.rows[cell, group]
            verdict = f", {NOT_MET}" if row.as_expected is False else ""
            expected = f" ({row.expected.bounds}{verdict})" if row.expected else ""
            texts.append(format_mean(row, matrix.metric) + expected)
            means.append(getattr(row.metrics.get(matrix.metric), "mean", None))
        columns.append(Column(group, tuple(texts), tuple(means), numeric=True))
    return columns


def format_mean(row: ReportRow, metric: str) -> str:
    """The mean of a metric with one decimal place."""
    summary = row.metrics.get(metric)
    return ABSENT if summary is None else format_fixed(summary.mean, 1)


def validation_columns(curves: Sequence[Curve], metric: str) -> list[Column]:
    """The primary metric during training, at some of the steps with validation.

    There are no columns if no cell was validated at two steps or more.
    """
    several = [curve for curve in curves if len(curve.steps) > 1]
    logged = {curve.name for curve in several}
    name = next((name for name in validation_names(metric) if name in logged), None)
    rows = [
        (curve, place)
        for curve in several
        if curve.name == name
        for place in _spread(len(curve.steps))
    ]
    if not rows:
        return []
    steps = [curve.steps[place] for curve, place in rows]
    values = [curve.values[place] for curve, place in rows]
    minutes = [curve.seconds[place] / 60 if curve.seconds else None for curve, place in rows]
    places = 2 if max(map(abs, values)) >= 1 else 4
    return [
        text_column("group", [curve.group for curve, _ in rows]),
        text_column("cell", [curve.cell for curve, _ in rows]),
        number_column("step", steps, lambda step: f"{step:,}"),
        number_column("training, min", minutes, lambda value: format_fixed(value, 1)),
        number_column(title_of(rows[0][0].name), values, lambda x: format_fixed(x, places)),
    ]


def scale_of(values: Sequence[float | None], units: Units) -> tuple[float, str]:
    """The largest unit in which the largest value is at least 1, else the smallest."""
    largest = max((abs(value) for value in values if value is not None), default=0.0)
    return next((unit for unit in reversed(units) if largest >= unit[0]), units[0])


def _metric_column(rows: Sequence[ReportRow], name: str) -> Column:
    summaries = [row.metrics.get(name) for row in rows]
    places = places_of(summary.mean for summary in summaries if summary)
    return _summary_column(title_of(name), summaries, lambda summary: _interval(summary, places))


def _summary_column(
    header: str, summaries: Sequence[Summary | None], write: Callable[[Summary], str]
) -> Column:
    """A column of summaries, sorted by their means; None is a dash."""
    texts = tuple(write(summary) if summary else ABSENT for summary in summaries)
    means = tuple(summary.mean if summary else None for summary in summaries)
    return Column(header, texts, means, numeric=True)


def _quantity_column(values: Sequence[float | None], units: Units) -> Column:
    size, header = scale_of(values, units)
    largest = max((value / size for value in values if value is not None), default=0.0)
    places = 1 if largest >= 100 else 2
    return number_column(header, values, lambda value: format_quantity(value / size, places))


def _price_columns(prices: Sequence[Mapping[str, float]]) -> list[Column]:
    """The differences in multiply-adds; no column if none is known."""
    values = [price.get("multiply_adds") for price in prices]
    size, header = scale_of(values, UNITS["multiply_adds"])
    column = number_column(header, values, lambda value: format_fixed(value / size, 2, "+"))
    return [column] if any(value is not None for value in values) else []


def _interval(summary: Summary, places: int) -> str:
    mean = format_fixed(summary.mean, places)
    if summary.low is None or summary.high is None:
        return mean
    return f"{mean} ± {format_fixed((summary.high - summary.low) / 2, places)}"


def format_estimate(estimate: Estimate, places: int) -> str:
    """The value and its interval, with signs."""
    numbers = (estimate.value, estimate.low, estimate.high)
    value, *bounds = (format_fixed(x, places, "+") for x in numbers if x is not None)
    return f"{value} [{', '.join(bounds)}]" if bounds else value


def format_interval(interval: Interval | None, places: int) -> str:
    """The bounds of an interval, with signs; None is a dash."""
    if interval is None:
        return ABSENT
    low, high = (format_fixed(bound, places, "+") for bound in (interval.low, interval.high))
    return f"[{low}, {high}]"


def format_p(p: float) -> str:
    """A p-value with three decimal places."""
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


def _spread(count: int) -> list[int]:
    """At most `MAX_STEPS` indices below `count`, evenly spaced, the last one included."""
    shown = min(count, MAX_STEPS)
    return [round((place + 1) * count / shown) - 1 for place in range(shown)]
