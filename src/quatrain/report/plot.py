"""The plots of a report, as SVG text that is the same for the same input, byte for byte."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.cells import cell_len

from quatrain.report.curves import Curve
from quatrain.report.differences import DifferenceRow, DifferenceTable
from quatrain.report.expectations import NOT_MET
from quatrain.report.figure import COLORS, FAINT, INK, open_figure, to_svg
from quatrain.report.labels import place_labels
from quatrain.report.matrix import Matrix, measured
from quatrain.report.metric_names import title_of
from quatrain.report.render import MULTIPLY_ADDS, scale_of
from quatrain.report.tables import ReportRow, ReportTable

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MARKERS = "osD^v"
STYLES = ("-", "--", ":", "-.")
LINE, LETTER = 0.25, 0.1
"""Inches that a line of a legend is high, and a letter of a name is wide."""
MOST_NAMES = 40
"""The points beyond which no place is left for their names."""


def accuracy_cost_svg(table: ReportTable) -> str:
    """Metric against counted multiply-adds, error bars over seeds, a Pareto front per group.

    Each point has its name, unless there are too many to be read.
    """
    rows = [row for row in table.rows if row.metrics and row.multiply_adds is not None]
    groups = list(dict.fromkeys(row.group for row in rows))
    in_line = names_in_line(groups, 8.0)
    below = max(0, -(-len(groups) // in_line) - 3)
    names = [short(row.cell, 40) for row in rows]
    width = max(8.0 + LETTER * excess(names, 20), 1.0 + LETTER * _longest(groups))
    with open_figure("accuracy-cost", (width, 5.0 + LINE * below)) as figure:
        if not rows:
            return to_svg(_say(figure, "No finished run with counted cost yet"), "accuracy-cost")
        axes = figure.subplots()
        size, unit = scale_of([row.multiply_adds for row in rows], MULTIPLY_ADDS)
        labels: list[tuple[str, str]] = []
        points: list[tuple[float, float]] = []
        for number, group in enumerate(groups):
            color, marker = COLORS[number % len(COLORS)], MARKERS[number % len(MARKERS)]
            members = [row for row in rows if row.group == group]
            points += _draw_group(axes, members, table.metric, size, color, marker)
            labels += [(short(row.cell, 40), color) for row in members]
        axes.set_xlabel(unit)
        axes.set_ylabel(title_of(table.metric))
        axes.margins(0.12, 0.14)
        figure.legend(loc="outside upper left", ncols=in_line)
        if len(points) <= MOST_NAMES:
            place_labels(figure, axes, points, *zip(*labels, strict=True))
        return to_svg(figure, "accuracy-cost")


def curves_svg(curves: Sequence[Curve], name: str) -> str:
    """The curves called `name` over steps, one panel per group, one line per cell."""
    chosen = [curve for curve in curves if curve.name == name]
    groups = list(dict.fromkeys(curve.group for curve in chosen))
    salt = f"curves-{name}"
    members = [[curve for curve in chosen if curve.group == group] for group in groups]
    heights = [max(3.4, LINE * (len(curves) + 2)) for curves in members]
    width = 8.0 + LETTER * excess([curve.cell for curve in chosen], 20)
    with open_figure(salt, (width, sum(heights) or 3.4)) as figure:
        if not chosen:
            return to_svg(_say(figure, f"No log of {title_of(name)} yet"), salt)
        shape = {"squeeze": False, "sharex": True, "height_ratios": heights}
        panels = figure.subplots(len(groups), 1, **shape)[:, 0]
        for axes, group, curves_of_group in zip(panels, groups, members, strict=True):
            _draw_curves(axes, curves_of_group)
            _frame_late(axes, curves_of_group)
            axes.set_title(short(group), loc="left", fontsize=11)
            axes.set_ylabel(title_of(name))
            axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
        panels[-1].set_xlabel("step")
        return to_svg(figure, salt)


def forest_svg(table: DifferenceTable) -> str:
    """Each difference with its interval, against the line of no difference.

    A hollow diamond is what others found for it.
    """
    shown = [(_side_by_side(row), row.summary, row.published) for row in table.rows if row.summary]
    width = 8.0 + LETTER * excess([name for name, _, _ in shown], 30)
    with open_figure("forest", (width, 0.9 + 0.42 * max(1, len(shown)))) as figure:
        if not shown:
            return to_svg(_say(figure, "No difference to show yet"), "forest")
        axes = figure.subplots()
        axes.axvline(0, color=INK, linewidth=1)
        for height, (_, summary, published) in enumerate(shown):
            color = COLORS[0] if summary.significant else FAINT
            if summary.low is not None and summary.high is not None:
                axes.plot([summary.low, summary.high], [height] * 2, color=color, linewidth=2)
            axes.plot([summary.mean], [height], "o", color=color, markersize=7)
            if published is not None:
                axes.plot([published], [height], "D", color=INK, fillstyle="none", markersize=6)
        axes.set_yticks(range(len(shown)), [name for name, _, _ in shown])
        axes.set_ylim(len(shown) - 0.4, -0.6)
        axes.grid(visible=False, axis="y")
        axes.set_xlabel(f"difference in {title_of(table.metric)}, 95 % interval")
        return to_svg(figure, "forest")


def matrix_svg(matrix: Matrix) -> str:
    """Each cell's primary metric, by mechanism and question, above what was expected of it.

    The fill grows with the metric; a cell against expectation has a thick frame and says so.
    """
    height, width = len(matrix.cells), len(matrix.groups)
    beside = 1.9 + LETTER * excess(matrix.cells, 20)
    column = 1.25 + LETTER * excess(matrix.groups, 12)
    with open_figure("matrix", (beside + column * width, 0.6 + 0.46 * height)) as figure:
        axes = figure.subplots()
        values = [s.mean for row in matrix.rows.values() if (s := row.metrics.get(matrix.metric))]
        low, high = min(values, default=0.0), max(values, default=1.0)
        for (cell, group), row in matrix.rows.items():
            at = matrix.groups.index(group), matrix.cells.index(cell)
            summary = row.metrics.get(matrix.metric)
            fill = (summary.mean - low) / ((high - low) or 1.0) if summary else 0.0
            _draw_cell(axes, at, measured(row, matrix.metric), row, fill)
        axes.set_xlim(0, width)
        axes.set_ylim(height, 0)
        axes.set_xticks([x + 0.5 for x in range(width)], [*map(short, matrix.groups)])
        axes.set_yticks([y + 0.5 for y in range(height)], [*map(short, matrix.cells)])
        axes.tick_params(length=0, labeltop=True, labelbottom=False)
        axes.grid(visible=False)
        axes.spines[:].set_visible(False)
        axes.set_xlabel(f"{title_of(matrix.metric)}, measured (expected)")
        return to_svg(figure, "matrix")


def pareto_front(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """The points (cost, value) that no other point beats at the same cost or less.

    Example:
        >>> pareto_front([(1, 5), (2, 4), (3, 7)])
        [(1, 5), (3, 7)]
    """
    front: list[tuple[float, float]] = []
    for cost, value in sorted(points, key=lambda point: (point[0], -point[1])):
        if not front or value > front[-1][1]:
            front.append((cost, value))
    return front


def short(name: str, most: int = 120) -> str:
    """A name with its middle left out where it is longer than `most` letters.

    Example:
        >>> short("encoder-decoder", 8)
        'encod…er'
    """
    return (
        name if len(name) <= most else f"{name[: most * 2 // 3]}…{name[1 - most + most * 2 // 3 :]}"
    )


def excess(names: Sequence[str], room: int) -> int:
    """The letters by which the longest of the names does not fit into `room`."""
    return max(0, _longest(names) - room)


def names_in_line(names: Sequence[str], width: float) -> int:
    """How many entries of a legend fit side by side into `width` inches; four at most."""
    return max(1, min(4, int(width / (LETTER * _longest(names) + 0.7))))


def _longest(names: Sequence[str]) -> int:
    """Letters of the longest name as it is shown; those of Chinese, for one, count twice."""
    return max((cell_len(short(name)) for name in names), default=0)


def _side_by_side(row: DifferenceRow) -> str:
    group, left, right = (short(name, 36) for name in (row.group, row.left, row.right))
    return f"{group}: {left} − {right}"


def _draw_curves(axes: "Axes", curves: Sequence[Curve]) -> None:
    for number, curve in enumerate(curves):
        style = STYLES[number // len(COLORS) % len(STYLES)]
        marker = "o" if len(curve.steps) == 1 else ""
        color = COLORS[number % len(COLORS)]
        label = short(curve.cell)
        axes.plot(curve.steps, curve.values, style, c=color, marker=marker, label=label)


def _draw_group(
    axes: "Axes", rows: Sequence[ReportRow], metric: str, size: float, color: str, marker: str
) -> list[tuple[float, float]]:
    points: list[tuple[float, float]] = []
    for row in rows:
        summary = row.metrics[metric]
        cost = (row.multiply_adds or 0.0) / size
        points.append((cost, summary.mean))
        if summary.low is not None and summary.high is not None:
            axes.plot([cost, cost], [summary.low, summary.high], color=color, lw=1.2, alpha=0.55)
    front = pareto_front(points)
    axes.plot(*zip(*front, strict=True), "--", color=color, linewidth=1.2, alpha=0.8)
    axes.plot(
        *zip(*points, strict=True), marker, color=color, alpha=0.85, label=short(rows[0].group)
    )
    return points


def _draw_cell(axes: "Axes", at: tuple[int, int], text: str, row: ReportRow, fill: float) -> None:
    from matplotlib.patches import Rectangle

    x, y = at
    against = row.as_expected is False
    color, line = (COLORS[5], 3.0) if against else (FAINT, 0.6)
    inset = 0.04 if against else 0.0  # a thick frame must not lie under its neighbours
    corner, sides = (x + inset, y + inset), (1 - 2 * inset, 1 - 2 * inset)
    axes.add_patch(Rectangle(corner, *sides, facecolor=COLORS[0], alpha=0.35 * fill, linewidth=0))
    axes.add_patch(Rectangle(corner, *sides, fill=False, edgecolor=color, linewidth=line))
    middle = y + (0.36 if against else 0.5)
    axes.text(x + 0.46, middle, text, ha="right", va="center", fontsize=12)
    if row.expected is not None:
        bounds = f"({row.expected.bounds})"
        axes.text(x + 0.52, middle, bounds, ha="left", va="center", fontsize=9)
    if against:
        axes.text(x + 0.5, y + 0.76, NOT_MET, ha="center", va="center", fontsize=9)


def _frame_late(axes: "Axes", curves: Sequence[Curve]) -> None:
    """Frame what comes after the first tenth, so that a steep start does not flatten the rest."""
    begin = max(curve.steps[-1] for curve in curves) / 10
    late = [
        value
        for curve in curves
        for step, value in zip(curve.steps, curve.values, strict=True)
        if step >= begin
    ]
    low, high = min(late, default=0.0), max(late, default=0.0)
    if high > low:
        margin = 0.05 * (high - low)
        axes.set_ylim(low - margin, high + margin)


def _say(figure: "Figure", text: str) -> "Figure":
    figure.text(0.5, 0.5, text, ha="center", va="center")
    return figure
