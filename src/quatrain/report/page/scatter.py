"""Accuracy against cost: the data of the interactive figure, and its first view as SVG.

The page's script draws other views from the same data: another cost, another metric, fewer groups.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from quatrain.report.build import Report
from quatrain.report.columns import UNITS, Column, number_column, scale_of, text_column
from quatrain.report.page.svg import (
    COLORS,
    SHAPES,
    Scale,
    axes,
    place_labels,
    scale_around,
    tag,
)
from quatrain.report.tables import ReportRow
from quatrain.report.text import format_fixed, shorten_name, title_of, visible
from quatrain.results import Manifest
from quatrain.results.pareto import front, memberships
from quatrain.specs.extras import name_missing_extra

with name_missing_extra():
    from markupsafe import Markup

WIDTH, HEIGHT = 900.0, 440.0
LEFT, RIGHT, TOP, BOTTOM = 56.0, 24.0, 30.0, 48.0
LOG_RATIO = 30.0
"""Costs whose largest is more than this many times the smallest have a logarithmic axis."""
LABEL = 28
"""Letters of the longest label."""


@dataclass(frozen=True)
class Cost:
    """A cost axis: its key in the records, its title with the unit, and the size of the unit."""

    key: str
    title: str
    size: float


@dataclass(frozen=True)
class PointOfCell:
    """A cell in the figure: intervals by metric, costs in the units of the axes."""

    name: str
    group: int
    seeds: int
    values: tuple[tuple[float, float | None, float | None] | None, ...]
    costs: tuple[float | None, ...]
    odds: dict[tuple[int, int], float] = field(default_factory=dict)
    """Probability to be on the front, by metric and cost."""


class Scatter:
    """The points of a report's cells that have finished runs and a cost."""

    def __init__(self, report: Report) -> None:
        """Points are computed when they are first used."""
        self.report = report
        self.manifest: Manifest = report.study.manifest
        self.rows: list[ReportRow] = [row for row in report.table.rows if row.metrics]
        self.metrics: list[str] = list(report.table.metric_names)
        self.groups: list[str] = list(dict.fromkeys(row.group for row in self.rows))

    @cached_property
    def costs(self) -> list[Cost]:
        """The costs that some cell has."""
        found: list[Cost] = []
        for key, units in UNITS.items():
            values = [row.quantities[key] for row in self.rows]
            if any(value is not None for value in values):
                size, title = scale_of(values, units)
                found.append(Cost(key, title, size))
        return found

    @cached_property
    def points(self) -> list[PointOfCell]:
        """The cells, with their probabilities to be on the front of their group."""
        points = [self._point(row) for row in self.rows]
        for metric, name in enumerate(self.metrics):
            if self.manifest.better(name):
                self._add_odds(points, metric, name)
        return points

    def direction(self, metric: str) -> str:
        """A sentence that says which values of a metric are better."""
        better, title = self.manifest.better(metric), title_of(metric)
        if not better:
            return (
                f"The study does not declare whether higher or lower {title} is better "
                "(lower_is_better), so it has no front and no best cell."
            )
        return f"{'Higher' if better > 0 else 'Lower'} {title} is better."

    def on_front(self, metric: int, cost: int) -> list[list[PointOfCell]]:
        """The points on the front of each group, by rising cost."""
        sign = self.manifest.better(self.metrics[metric])
        fronts: list[list[PointOfCell]] = []
        for number in range(len(self.groups)):
            members: dict[str, tuple[PointOfCell, float, float]] = {}
            for point in self.points:
                value, price = point.values[metric], point.costs[cost]
                if point.group == number and value is not None and price is not None:
                    members[point.name] = point, sign * value[0], price
            names = front(
                {name: value for name, (_, value, _) in members.items()},
                {name: price for name, (_, _, price) in members.items()},
            )
            fronts.append([members[name][0] for name in names] if sign else [])
        return fronts

    @cached_property
    def drawn(self) -> dict[int, list[PointOfCell]]:
        """The points of the first view by the number of their group: those with both values."""
        by_group: dict[int, list[PointOfCell]] = {}
        for point in self.points if self.costs else []:
            if point.values[0] and point.costs[0] is not None:
                by_group.setdefault(point.group, []).append(point)
        return by_group

    def draw(self, groups: Collection[int]) -> list[Markup]:
        """The axes, fronts, points and labels of the first view of these groups, by number."""
        shown = [point for number in groups for point in self.drawn[number]]
        return _draw(self, shown, [self.on_front(0, 0)[number] for number in groups])

    def as_json(self) -> dict[str, object]:
        """The data of the figure for the page's script."""
        return {
            "metrics": [
                {
                    "title": title_of(name),
                    "better": self.manifest.better(name),
                    "direction": self.direction(name),
                }
                for name in self.metrics
            ],
            "costs": [{"title": cost.title} for cost in self.costs],
            "groups": [visible(group) for group in self.groups],
            "shapes": SHAPES,
            "cells": [
                {
                    "name": visible(point.name),
                    "label": visible(shorten_name(point.name, LABEL)),
                    "group": point.group,
                    "seeds": point.seeds,
                    "values": [_rounded(value) for value in point.values],
                    "costs": [_digits(cost) for cost in point.costs],
                    "odds": {f"{m},{c}": round(p, 3) for (m, c), p in point.odds.items()},
                }
                for point in self.points
            ],
        }

    def _point(self, row: ReportRow) -> PointOfCell:
        summaries = [row.metrics.get(name) for name in self.metrics]
        prices = [(row.quantities[cost.key], cost.size) for cost in self.costs]
        return PointOfCell(
            row.cell,
            self.groups.index(row.group),
            row.seeds_done,
            tuple((s.mean, s.low, s.high) if s else None for s in summaries),
            tuple(None if price is None else price / size for price, size in prices),
        )

    def _add_odds(self, points: Sequence[PointOfCell], metric: int, name: str) -> None:
        for number, group in enumerate(self.groups):
            fitted = self.report.groups.fit(group, name)
            own = {point.name: point for point in points if point.group == number}
            costs = [
                {n: price for n, p in own.items() if (price := p.costs[place]) is not None}
                for place in range(len(self.costs))
            ]
            if fitted is None:
                continue
            odds = memberships(fitted, costs, lower_is_better=self.manifest.better(name) < 0)
            for place, by_cell in enumerate(odds or []):
                for cell, probability in by_cell.items():
                    own[cell].odds[metric, place] = probability


def scatter_svg(scatter: Scatter) -> Markup:
    """The first view: the primary metric and the first cost; empty if no cell has both."""
    if not scatter.drawn:
        return Markup("")
    title = title_of(scatter.metrics[0])
    return tag(
        "svg",
        *scatter.draw(scatter.drawn),
        viewBox=f"0 0 {WIDTH:.0f} {HEIGHT:.0f}",
        role="group",
        aria_label=f"{title} against {scatter.costs[0].title}, one point for each cell",
    )


def _draw(
    scatter: Scatter, shown: Sequence[PointOfCell], fronts: Sequence[Sequence[PointOfCell]]
) -> list[Markup]:
    x, y = _scales(shown)
    places = {id(p): (x(p.costs[0] or 0.0), y((p.values[0] or (0,))[0])) for p in shown}
    leading = {id(point) for members in fronts for point in members}
    ordered = sorted(shown, key=lambda point: id(point) not in leading)
    texts = [_label(point, id(point) in leading) for point in ordered]
    frame = (LEFT, TOP - 4, WIDTH - 2, HEIGHT - BOTTOM)
    labels = place_labels([places[id(point)] for point in ordered], texts, frame)
    return [
        axes(x, y, scatter.costs[0].title, title_of(scatter.metrics[0])),
        *(_front(members, places) for members in fronts if members),
        *(_marker(point, places[id(point)], y, _describe(scatter, point)) for point in shown),
        *(
            tag("text", text, x=place[0], y=place[1], class_="label")
            for text, place in zip(texts, labels, strict=True)
            if place
        ),
    ]


def _scales(shown: Sequence[PointOfCell]) -> tuple[Scale, Scale]:
    costs = [price for point in shown if (price := point.costs[0]) is not None]
    ends = [bound for p in shown for bound in p.values[0] or () if bound is not None]
    y = scale_around(ends, HEIGHT - BOTTOM, TOP)
    if min(costs) > 0 and max(costs) / min(costs) > LOG_RATIO:
        return Scale(min(costs) / 1.4, max(costs) * 1.4, LEFT, WIDTH - RIGHT, log=True), y
    return scale_around(costs, LEFT, WIDTH - RIGHT), y


def _label(point: PointOfCell, leads: bool) -> str:
    name, odds = shorten_name(point.name, LABEL), point.odds.get((0, 0))
    return f"{name} · {100 * odds:.0f} %" if leads and odds is not None else name


def _front(members: Sequence[PointOfCell], places: dict[int, tuple[float, float]]) -> Markup:
    line = " ".join(f"{x:.1f},{y:.1f}" for x, y in (places[id(point)] for point in members))
    return tag("polyline", points=line, class_=f"front c{members[0].group % COLORS}")


def _marker(point: PointOfCell, place: tuple[float, float], y: Scale, text: str) -> Markup:
    _, low, high = point.values[0] or (0, None, None)
    color, (left, top) = point.group % COLORS, place
    parts: list[Markup] = [tag("title", text)]
    if low is not None and high is not None:
        parts.append(tag("line", class_="whisker", x1=left, x2=left, y1=y(low), y2=y(high)))
    shape = SHAPES[point.group % len(SHAPES)]
    parts.append(tag("path", d=shape, transform=f"translate({left:.1f} {top:.1f})"))
    return tag("g", *parts, class_=f"point c{color}")


def _describe(scatter: Scatter, point: PointOfCell) -> str:
    mean, low, high = point.values[0] or (0.0, None, None)
    bounds = (
        f" [{format_fixed(low, 2)}, {format_fixed(high, 2)}]"
        if low is not None and high is not None
        else ""
    )
    title = title_of(scatter.metrics[0])
    price = f"{point.costs[0]:.4g} {scatter.costs[0].title}"
    return (
        f"{scatter.groups[point.group]}, {point.name}: {title} {format_fixed(mean, 2)}{bounds}, "
        f"{price}"
    )


def _rounded(value: Sequence[float | None] | None) -> list[float | None] | None:
    return None if value is None else [_digits(number) for number in value]


def _digits(value: float | None) -> float | None:
    return None if value is None else float(f"{value:.6g}")


def scatter_table(scatter: Scatter) -> list[Column]:
    """The numbers of the figure's first view: cost, metric, and probability to be on the front."""
    points = scatter.points
    columns = [
        text_column("group", [scatter.groups[point.group] for point in points]),
        text_column("cell", [point.name for point in points]),
    ]
    for place, cost in enumerate(scatter.costs):
        prices = [point.costs[place] for point in points]
        columns.append(number_column(cost.title, prices, lambda value: f"{value:,.4g}"))
    for number, name in enumerate(scatter.metrics):
        if not scatter.manifest.better(name):
            continue
        values = [value[0] if (value := p.values[number]) else None for p in points]
        columns.append(number_column(title_of(name), values, lambda value: format_fixed(value, 2)))
        for place, cost in enumerate(scatter.costs):
            odds = [point.odds.get((number, place)) for point in points]
            header = f"on front by {cost.key.replace('_', ' ')}"
            if any(value is not None for value in odds):
                columns.append(number_column(header, odds, lambda p: f"{100 * p:.0f} %"))
    return columns
