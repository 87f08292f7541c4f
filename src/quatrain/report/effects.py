"""The effects of the four terms in each grid of term sets, with their price."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from quatrain.report.groups import COSTS, Groups
from quatrain.results.factorial import TERMS, TermGrid, price, term_grids
from quatrain.results.fit import Estimate, Fit

Kind = Literal[
    "main effect", "interaction", "added to all others", "added to none", "Shapley share"
]


@dataclass(frozen=True)
class EffectRow:
    """An effect of one or two terms: what it gains in the metric, and what it costs."""

    kind: Kind
    terms: tuple[str, ...]
    estimate: Estimate
    price: Mapping[str, float]
    averaged: tuple[int, int] = (1, 1)
    """The number of pairs of cells in the average, and that of a complete grid."""
    aliases: Mapping[tuple[str, ...], float] | None = None
    """Shares of other effects in the estimate if the grid is incomplete."""

    @property
    def name(self) -> str:
        """The terms."""
        return " × ".join(self.terms)


@dataclass(frozen=True)
class GridEffects:
    """The effects in one grid of a group."""

    group: str
    grid: TermGrid
    rows: tuple[EffectRow, ...]
    missing: tuple[tuple[str, ...], ...]
    """Main effects and two-way interactions without a complete pair of cells, or common seeds."""

    def of_kind(self, kind: Kind) -> tuple[EffectRow, ...]:
        """The effects of one kind."""
        return tuple(row for row in self.rows if row.kind == kind)


def build_effects(groups: Groups, metric: str) -> list[GridEffects]:
    """The effects in each grid of at least three term sets with finished runs."""
    found: list[GridEffects] = []
    for group in groups.names:
        fitted = groups.fit(group, metric)
        if fitted is None:
            continue
        costs = {name: groups.costs(group, name) for name in COSTS}
        found += [
            _effects_of(group, grid, fitted, costs)
            for grid in term_grids(groups.specs(group))
            if len(grid.cells) > 2
        ]
    return found


def _effects_of(
    group: str, grid: TermGrid, fitted: Fit, costs: Mapping[str, Mapping[str, float]]
) -> GridEffects:
    rows: list[EffectRow] = []
    missing: list[tuple[str, ...]] = []

    def add(kind: Kind, terms: tuple[str, ...], weights: Mapping[str, float] | None) -> None:
        if weights is None or not fitted.can_estimate(weights):
            if kind in {"main effect", "interaction"}:
                missing.append(terms)
            return
        prices = {name: price(weights, of_cells) for name, of_cells in costs.items()}
        averaged = kind in {"main effect", "interaction"}
        rows.append(
            EffectRow(
                kind,
                terms,
                fitted.contrast(weights),
                {name: value for name, value in prices.items() if value is not None},
                grid.completeness(*terms) if averaged else (1, 1),
                grid.aliases(*terms) if averaged else None,
            )
        )

    for term in TERMS:
        add("main effect", (term,), grid.effect(term))
    for number, first in enumerate(TERMS):
        for second in TERMS[number + 1 :]:
            add("interaction", (first, second), grid.effect(first, second))
    for term in TERMS:
        add("added to all others", (term,), grid.simple_effect(term, others=True))
        add("added to none", (term,), grid.simple_effect(term, others=False))
    for term in TERMS:
        add("Shapley share", (term,), grid.shapley(term))
    return GridEffects(group, grid, tuple(rows), tuple(missing))
