"""The figures of a report, as deterministic SVG text."""

from collections.abc import Sequence
from itertools import product
from typing import TYPE_CHECKING

import numpy as np

from quatrain.report.columns import UNITS, format_mean, scale_of
from quatrain.report.curves import Curve
from quatrain.report.differences import DifferenceTable
from quatrain.report.figure import COLORS, FAINT, INK, cell_len, open_figure, to_svg
from quatrain.report.tables import NOT_MET, Matrix, ReportRow, ReportTable
from quatrain.report.text import shorten_name as shorten
from quatrain.report.text import title_of
from quatrain.results import Summary

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MARKERS = "osD^v"
STYLES = ("-", "--", ":", "-.")
MOST_CURVES = len(COLORS) * len(STYLES)
"""Curves of a panel that can be distinguished; with more of them there is no legend."""
_LEGEND_ROWS = 12
_LABEL_SIZE = 9.5
_LABEL_GAP = 5.0
"""Points from the centre of a marker to its label, in both directions."""
_PLACES = ((1, -1), (-1, 1), (1, 0), (1, 1), (-1, 0), (-1, -1), (0, 1), (0, -1))
"""Directions (right, up) of labels; the first two are free of a front that rises to the right."""

Point = tuple[float, float]
Label = tuple[Point, str, str]
"""A point in data coordinates, its name and its colour."""


def accuracy_cost_svg(table: ReportTable) -> str:
    """Primary metric against counted multiply-adds, with intervals and each group's Pareto front.

    Points on a front are labelled first; a label that has no free place is left out.
    """
    groups: dict[str, list[tuple[float, Summary, str]]] = {}
    for row in table.rows:
        cost = row.quantities["multiply_adds"]
        if row.metrics and cost is not None:
            point = cost, row.metrics[table.metric], row.cell
            groups.setdefault(row.group, []).append(point)
    with open_figure("accuracy-cost", (7.0, 4.2)) as figure:
        if not groups:
            return to_svg(_message(figure, "No finished run with counted cost"), "accuracy-cost")
        axes = figure.subplots()
        costs = [cost for members in groups.values() for cost, _, _ in members]
        size, unit = scale_of(costs, UNITS["multiply_adds"])
        on_front: list[Label] = []
        others: list[Label] = []
        for number, (group, members) in enumerate(groups.items()):
            color, marker = COLORS[number % len(COLORS)], MARKERS[number % len(MARKERS)]
            points = [(cost / size, summary.mean) for cost, summary, _ in members]
            intervals = [
                (cost / size, s.low, s.high) for cost, s, _ in members if s.low is not None
            ]
            if intervals:
                axes.vlines(*zip(*intervals, strict=True), color=color, linewidth=1.2, alpha=0.55)
            front = pareto_front(points)
            axes.plot(*zip(*front, strict=True), "--", color=color, linewidth=1.2, alpha=0.8)
            label = shorten(group)
            axes.plot(*zip(*points, strict=True), marker, color=color, alpha=0.85, label=label)
            for point, (_, _, cell) in zip(points, members, strict=True):
                (on_front if point in front else others).append((point, cell, color))
        axes.set_xlabel(unit)
        axes.set_ylabel(title_of(table.metric))
        axes.margins(0.12, 0.14)
        _add_legend(axes, len(groups))
        label_points(axes, on_front + others)
        return to_svg(figure, "accuracy-cost")


def curves_svg(curves: Sequence[Curve], name: str) -> str:
    """The curves called `name` over steps, one panel per group, one line per cell."""
    groups: dict[str, list[Curve]] = {}
    for curve in curves:
        if curve.name == name:
            groups.setdefault(curve.group, []).append(curve)
    salt = f"curves-{name}"
    with open_figure(salt, (6.5, 3.2 * max(1, len(groups)))) as figure:
        if not groups:
            return to_svg(_message(figure, f"No log of {title_of(name)} yet"), salt)
        panels = figure.subplots(len(groups), 1, squeeze=False, sharex=True)[:, 0]
        for axes, (group, members) in zip(panels, groups.items(), strict=True):
            _draw_curves(axes, members)
            _frame_late(axes, members)
            axes.set_title(shorten(group), loc="left", fontsize=11)
            axes.set_ylabel(title_of(name))
        panels[-1].set_xlabel("step")
        return to_svg(figure, salt)


def forest_svg(table: DifferenceTable) -> str:
    """Each difference with its interval; a hollow diamond is the published difference."""
    rows = [(row, row.answer.estimate) for row in table.rows if row.answer]
    with open_figure("forest", (6.0, 0.3 + 0.3 * len(rows))) as figure:
        if not rows:
            return to_svg(_message(figure, "No difference to show yet"), "forest")
        axes = figure.subplots()
        axes.axvline(0, color=INK, linewidth=1)
        places = range(len(rows))
        colors = [FAINT if row.outcome == "inconclusive" else COLORS[0] for row, _ in rows]
        values = [(e.low, e.value, e.high, row.comparison.published) for row, e in rows]
        low, mean, high, published = np.array(values, dtype=float).T  # None becomes NaN
        axes.hlines(places, low, high, colors, linewidth=2)
        axes.scatter(mean, places, s=49, c=colors, zorder=3)
        axes.scatter(published, places, 36, marker="D", facecolors="none", edgecolors=INK, zorder=4)
        names = [shorten(f"{row.comparison.group}: {row.name}", 80) for row, _ in rows]
        axes.set_yticks(places, names)
        axes.set_ylim(len(rows) - 0.4, -0.6)
        axes.grid(visible=False, axis="y")
        axes.set_xlabel(f"difference in {title_of(table.metric)}, 95 % interval")
        return to_svg(figure, "forest")


def matrix_svg(matrix: Matrix) -> str:
    """The primary metric of each cell, by mechanism and question, and its expected value.

    The fill grows with the metric; a cell that misses its expectation has a thick frame.
    """
    height, width = len(matrix.cells), len(matrix.groups)
    with open_figure("matrix", (1.25 * width, 0.46 * height)) as figure:
        axes = figure.subplots()
        rows = [[matrix.rows[cell, group] for group in matrix.groups] for cell in matrix.cells]
        _fill_cells(axes, rows, matrix.metric)
        for y, x in product(range(height), range(width)):
            _draw_cell(axes, (x, y), rows[y][x], matrix.metric)
        axes.set_xlim(-0.02, width + 0.02)
        axes.set_ylim(height + 0.05, -0.05)
        tilted = max(map(cell_len, matrix.groups)) > 14
        turn = {"rotation": 30, "ha": "left"} if tilted else {}
        axes.set_xticks([x + 0.5 for x in range(width)], [*map(shorten, matrix.groups)], **turn)
        axes.set_yticks([y + 0.5 for y in range(height)], [*map(shorten, matrix.cells)])
        axes.tick_params(length=0, labeltop=True, labelbottom=False)
        axes.grid(visible=False)
        axes.spines[:].set_visible(False)
        axes.set_xlabel(f"{title_of(matrix.metric)}, measured (expected)")
        return to_svg(figure, "matrix")


def pareto_front(points: Sequence[Point]) -> list[Point]:
    """The points (cost, value) that no other point beats at the same cost or less."""
    front: list[Point] = []
    for cost, value in sorted(points, key=lambda point: (point[0], -point[1])):
        if not front or value > front[-1][1]:
            front.append((cost, value))
    return front


def label_points(axes: "Axes", labels: Sequence[Label]) -> None:
    """Write names next to points, without covering a point or another name.

    Each name tries eight places around its point, in the order of `labels`, and is left out if
    none is free. Its width is estimated. The limits of the axes must be final.
    """
    axes.autoscale_view()
    centers = axes.transData.transform([point for point, _, _ in labels])
    taken = np.concatenate([centers - 4.0, centers + 4.0], axis=1)
    left, bottom, right, top = axes.bbox.extents
    horizontal, vertical = ("center", "left", "right"), ("center", "bottom", "top")
    for (x, y), (point, name, color) in zip(centers, labels, strict=True):
        text = shorten(name)
        width, height = 0.65 * _LABEL_SIZE * cell_len(text), 1.2 * _LABEL_SIZE
        for dx, dy in _PLACES:
            x0 = x + _LABEL_GAP * dx + (dx - 1) / 2 * width
            y0 = y + _LABEL_GAP * dy + (dy - 1) / 2 * height
            box = np.array([x0, y0, x0 + width, y0 + height])
            inside = x0 >= left and y0 >= bottom and box[2] <= right and box[3] <= top
            overlaps = (box[:2] < taken[:, 2:]).all(1) & (taken[:, :2] < box[2:]).all(1)
            if inside and not overlaps.any():
                taken = np.vstack([taken, box])
                axes.annotate(
                    text,
                    point,
                    (_LABEL_GAP * dx, _LABEL_GAP * dy),
                    textcoords="offset points",
                    ha=horizontal[dx],
                    va=vertical[dy],
                    color=color,
                    fontsize=_LABEL_SIZE,
                )
                break


def _draw_curves(axes: "Axes", curves: Sequence[Curve]) -> None:
    for number, curve in enumerate(curves):
        style = STYLES[number // len(COLORS) % len(STYLES)]
        marker = "o" if len(curve.steps) == 1 else ""
        color = COLORS[number % len(COLORS)]
        label = shorten(curve.cell)
        axes.plot(curve.steps, curve.values, style, c=color, marker=marker, label=label)
    if len(curves) <= MOST_CURVES:
        _add_legend(axes, len(curves))


def _add_legend(axes: "Axes", entries: int) -> None:
    """A legend to the right of the axes, in columns, so that it is no higher than a panel."""
    columns = -(-entries // _LEGEND_ROWS)
    axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), ncols=columns)


def _frame_late(axes: "Axes", curves: Sequence[Curve]) -> None:
    """Fit the y axis to the values after a tenth of the steps, so that a steep start is cut off."""
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


def _fill_cells(axes: "Axes", rows: list[list[ReportRow]], metric: str) -> None:
    """Fill each cell the more, the nearer its metric is to the highest of all."""
    from matplotlib.colors import LinearSegmentedColormap, to_rgb

    summaries = [[row.metrics.get(metric) for row in line] for line in rows]
    means = np.array([[s.mean if s else np.nan for s in line] for line in summaries])
    rgb = to_rgb(COLORS[0])
    fill = LinearSegmentedColormap.from_list("fill", [(*rgb, 0.0), (*rgb, 0.35)])
    axes.pcolormesh(np.ma.masked_invalid(means), cmap=fill, edgecolor=FAINT, linewidth=0.6)


def _draw_cell(axes: "Axes", corner: tuple[int, int], row: ReportRow, metric: str) -> None:
    from matplotlib.patches import Rectangle

    x, y = corner
    middle = y + 0.5
    if row.as_expected is False:
        middle = y + 0.36
        # A little smaller than the cell, so that the neighbours do not cover it.
        frame = {"fill": False, "edgecolor": COLORS[5], "linewidth": 3.0}
        axes.add_patch(Rectangle((x + 0.04, y + 0.04), 0.92, 0.92, **frame))
        axes.text(x + 0.5, y + 0.76, NOT_MET, ha="center", va="center", fontsize=9)
    axes.text(x + 0.46, middle, format_mean(row, metric), ha="right", va="center", fontsize=12)
    if row.expected is not None:
        bounds = f"({row.expected.bounds})"
        axes.text(x + 0.52, middle, bounds, ha="left", va="center", fontsize=9)


def _message(figure: "Figure", text: str) -> "Figure":
    figure.text(0.5, 0.5, text, ha="center", va="center")
    return figure
