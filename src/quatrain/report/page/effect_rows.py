"""The section of effects: tables whose rows have an interval as a drawing, numbers and a price."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from quatrain.report.build import Report
from quatrain.report.columns import (
    ABSENT,
    UNITS,
    Column,
    difference_columns,
    format_estimate,
    format_p,
    scale_of,
)
from quatrain.report.differences import DifferenceRow
from quatrain.report.effects import EffectRow, GridEffects
from quatrain.report.page.strips import axis, bar, interval, percent_scale
from quatrain.report.text import format_fixed, visible
from quatrain.results import pluralize
from quatrain.results.fit import Estimate
from quatrain.results.statistics import CONFIDENCE
from quatrain.specs.extras import name_missing_extra

with name_missing_extra():
    from markupsafe import Markup

PRICES = ("multiply_adds", "parameters")
_OTHERS = 4
"""Aliased effects that are named."""


@dataclass(frozen=True)
class StripRow:
    """A row of a figure: its name, the drawing, and the texts of further columns."""

    name: str
    drawing: Markup
    texts: tuple[str, ...]
    price: Markup | None = None
    kind: str = ""


@dataclass(frozen=True)
class StripTable:
    """A figure in the form of a table."""

    title: str
    first: str
    """Header of the first column."""
    axis: Markup
    headers: tuple[str, ...]
    rows: tuple[StripRow, ...]
    price_axis: Markup | None = None
    price_header: str = ""


@dataclass(frozen=True)
class GroupEffects:
    """The figures of one grid of term sets, and sentences about what the grid lacks."""

    group: str
    tables: tuple[StripTable, ...]
    remarks: tuple[str, ...]


def build_group_effects(report: Report, title: str) -> list[GroupEffects]:
    """The figures of effects, by grid."""
    places = _places(report)
    return [
        GroupEffects(found.group, _tables(found, title, places), _remarks(found))
        for found in report.effects
        if found.rows
    ]


def forests(report: Report) -> list[StripTable]:
    """The differences of each group with their intervals, and the published differences."""
    table = report.differences
    columns = difference_columns(table)[2:]
    groups: dict[str, list[int]] = {}
    for number, row in enumerate(table.rows):
        if row.answer is not None:
            groups.setdefault(row.comparison.group, []).append(number)
    return [
        _forest(group, [table.rows[n] for n in numbers], [column.at(numbers) for column in columns])
        for group, numbers in groups.items()
    ]


def _forest(group: str, rows: Sequence[DifferenceRow], columns: Sequence[Column]) -> StripTable:
    """The differences of a group; columns without information are left out."""
    known = [(row, row.answer.estimate) for row in rows if row.answer is not None]
    published = [x for row in rows if (x := row.comparison.published) is not None]
    second = [row.over_test_examples for row in rows]
    bounds = [bound for other in second if other for bound in (other.low, other.high)]
    scale = percent_scale([*_ends([e for _, e in known]), *published, *bounds])
    shown = [column for column in columns if {*column.texts} != {ABSENT}]
    texts = [[_signed(text) if c.numeric else text for text in c.texts] for c in shown]
    lines = [
        StripRow(
            _names(row.comparison.left, row.comparison.right),
            interval(
                scale,
                e.value,
                (e.low, e.high),
                _shape(row.outcome),
                published=row.comparison.published,
                thin=(other.low, other.high) if other else None,
            ),
            own,
        )
        for (row, e), other, own in zip(known, second, zip(*texts, strict=True), strict=True)
    ]
    headers = tuple(column.header for column in shown)
    return StripTable(group, "difference", axis(scale), headers, tuple(lines))


def _tables(effects: GridEffects, title: str, places: int) -> tuple[StripTable, ...]:
    """Effects and interactions, simple effects, and Shapley shares, each where there are some."""
    factorial = [*effects.of_kind("main effect"), *effects.of_kind("interaction")]
    simple = [*effects.of_kind("added to all others"), *effects.of_kind("added to none")]
    shapley = [*effects.of_kind("Shapley share")]
    named = (
        ("Main effects and interactions", factorial),
        ("One term added", simple),
        ("Shapley shares of 1111 − 0000", shapley),
    )
    return tuple(_table(name, rows, title, places) for name, rows in named if rows)


def _table(name: str, rows: Sequence[EffectRow], title: str, places: int) -> StripTable:
    estimates = [row.estimate for row in rows]
    scale = percent_scale(_ends(estimates))
    prices = [row.price.get("multiply_adds") for row in rows]
    size, unit = scale_of(prices, UNITS["multiply_adds"])
    priced = any(price is not None for price in prices)
    amounts = percent_scale([(price or 0.0) / size for price in prices])
    is_factorial = rows[0].kind in {"main effect", "interaction"}
    is_share = rows[0].kind == "Shapley share"
    lines = tuple(
        StripRow(
            row.name if is_factorial or is_share else f"{row.terms[0]} {row.kind}",
            interval(
                scale,
                row.estimate.value,
                (row.estimate.low, row.estimate.high),
                _sign(row.estimate),
                filled=is_share,
            ),
            (
                _signed(format_estimate(row.estimate, places)),
                _p(row.estimate.p),
                *([_price(price, size)] if priced else []),
                *([f"{row.averaged[0]} of {row.averaged[1]}"] if is_factorial else []),
            ),
            bar(amounts, (price or 0.0) / size) if priced else None,
            kind=row.kind.replace(" ", "-"),
        )
        for row, price in zip(rows, prices, strict=True)
    )
    headers = (
        f"{title} [95 %]",
        "p",
        *([unit] if priced else []),
        *(["pairs"] if is_factorial else []),
    )
    return StripTable(
        name, "effect", axis(scale), headers, lines, axis(amounts) if priced else None, unit
    )


def _remarks(effects: GridEffects) -> tuple[str, ...]:
    """What an incomplete grid can and cannot tell."""
    if effects.grid.complete:
        return ()
    is_fraction = effects.grid.is_fraction
    averaged = "a half fraction" if is_fraction else "the pairs of cells that are complete"
    remarks = [
        f"The grid is incomplete: {len(effects.grid.cells)} of 16 term sets have finished runs. "
        f"An effect is averaged over {averaged}, and contains a part of the effects that it is "
        "aliased with."
    ]
    for row in effects.rows:
        if not row.aliases:
            continue
        listed = sorted(row.aliases.items(), key=lambda item: (len(item[0]), -abs(item[1])))
        parts = [f"{_share(share)}{' × '.join(terms)}" for terms, share in listed[:_OTHERS]]
        more = len(listed) - len(parts)
        rest = f" and {pluralize(more, 'higher interaction')}" if more > 0 else ""
        remarks.append(f"{row.name} contains {', '.join(parts)}{rest}.")
    if effects.missing:
        names = ", ".join(" × ".join(terms) for terms in effects.missing)
        remarks.append(f"Without a complete pair of cells, and so not estimated: {names}.")
    return tuple(remarks)


def _names(left: str, right: str) -> Markup:
    """The two cells of a difference, each with its own writing direction."""
    return Markup("<bdi>{}</bdi> − <bdi>{}</bdi>").format(visible(left), visible(right))


def _share(share: float) -> str:
    sign = "−" if share < 0 else "+"
    return sign if abs(abs(share) - 1) < 1e-9 else f"{sign}{abs(share):.2f} "


def _ends(estimates: Sequence[Estimate]) -> list[float]:
    return [x for e in estimates for x in (e.value, e.low, e.high) if x is not None]


def _places(report: Report) -> int:
    """Decimal places of the metric: 2, or 4 for a metric below 1."""
    metric = report.differences.metric
    means = [row.metrics[metric].mean for row in report.table.rows if metric in row.metrics]
    return 2 if max(map(abs, means), default=1.0) >= 1 else 4


def _sign(estimate: Estimate) -> str:
    """The shape of an effect: its direction if its own interval excludes zero."""
    if estimate.p is None or estimate.p > 1 - CONFIDENCE:
        return "open"
    return "higher" if estimate.value > 0 else "lower"


def _shape(outcome: str) -> str:
    return outcome if outcome in {"higher", "lower", "equivalent"} else "open"


def _p(p: float | None) -> str:
    return ABSENT if p is None else format_p(p)


def _price(price: float | None, size: float) -> str:
    return ABSENT if price is None else _signed(format_fixed(price / size, 2, "+"))


def _signed(text: str) -> str:
    """Numbers with a minus sign in place of a hyphen, and no negative zero."""
    return re.sub(r"-(?=0\.0*(?!\d))", "", text).replace("-", "−")
