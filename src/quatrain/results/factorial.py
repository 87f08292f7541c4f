"""Effects of the four attention terms: contrasts of the cells of a 2^4 factorial grid.

A grid of term sets is recognized from the specs: cells whose specs are equal but for `terms`.
"0000" (uniform weights) is the empty set of the factorial; "w/o" (no module) is not part of it.

    main effect of E1       mean of the cells with E1 minus mean of those without
    interaction E1 x E3     half of the effect of E1 with E3 minus half of its effect without
    Shapley share of E1     mean gain by adding E1 over all orders in which terms can be added;
                            the four shares sum to 1111 - 0000

If cells are missing, an effect is averaged over the pairs of cells (for an interaction, the groups
of four) that are complete. Such an average is aliased: it also contains a known part of others. A
half fraction, the eight sets with an even number of terms or the eight with an odd number, has no
complete pair, but gives each main effect with the precision of four pairs, aliased with one
interaction of three terms only (resolution IV).

Source: Montgomery, Design and Analysis of Experiments, chapters 6 and 8; Shapley shares in designs
    of experiments: FACTORS, https://arxiv.org/abs/2509.10825.
"""

import functools
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import chain, combinations, product
from typing import Any, cast

from quatrain.results.statistics import ordered_sum
from quatrain.specs.notation import has_default_of_added_field

TERMS: tuple[str, ...] = ("E1", "E2", "E3", "E4")
Effect = tuple[str, ...]
"""The terms of an effect: one for a main effect, several for an interaction."""

EFFECTS: tuple[Effect, ...] = tuple(
    effect for order in range(1, len(TERMS) + 1) for effect in combinations(TERMS, order)
)
"""Main effects first, then interactions."""

HALF_FRACTION: tuple[str, ...] = tuple(
    digits
    for digits in map("".join, product("01", repeat=len(TERMS)))
    if digits.count("1") % 2 == 0
)
"""The term sets whose product of signs is +, a fraction of resolution IV: 0000, 0011, ..., 1111."""

_OTHER_HALF = tuple("10"[int(digits[0])] + digits[1:] for digits in HALF_FRACTION)
_PAIRS_OF_A_FRACTION = 4
_TOLERANCE = 1e-9
_MANY = 8
"""Mixers that vary, of which all combinations are compared; their number doubles with each."""


@dataclass(frozen=True)
class TermGrid:
    """The cells of a group that differ in their term set only, by term set ("0110")."""

    cells: Mapping[str, str]

    @property
    def complete(self) -> bool:
        """Whether all sixteen term sets are present."""
        return len(self.cells) == 2 ** len(TERMS)

    def effect(self, *terms: str) -> dict[str, float] | None:
        """The weights by cell of a main effect or an interaction; None if it cannot be estimated.

        It is an average over the complete pairs, or over a half fraction if that is more precise.
        """
        fraction = self._fraction(terms)
        if fraction:
            weight = 1 / _PAIRS_OF_A_FRACTION
            return {self.cells[digits]: weight * _sign(digits, terms) for digits in fraction}
        blocks = self._blocks(terms)
        if not blocks:
            return None
        size = len(blocks) * 2 ** (len(terms) - 1)
        return {
            self.cells[digits]: _sign(digits, terms) / size for block in blocks for digits in block
        }

    def completeness(self, *terms: str) -> tuple[int, int]:
        """How many pairs of cells an effect is averaged over, and how many a full grid has.

        A half fraction counts as the four pairs whose precision it has.
        """
        pairs = _PAIRS_OF_A_FRACTION if self._fraction(terms) else len(self._blocks(terms))
        return pairs, 2 ** (len(TERMS) - len(terms))

    @property
    def is_fraction(self) -> bool:
        """Whether main effects are averages over a half fraction."""
        return any(self._fraction((term,)) for term in TERMS)

    def aliases(self, *terms: str) -> dict[Effect, float]:
        """The other effects that the estimate of an effect contains, with their shares."""
        weights = self.effect(*terms) or {}
        sets = {cell: digits for digits, cell in self.cells.items()}
        shares = {
            other: ordered_sum(w * _sign(sets[cell], other) for cell, w in weights.items()) / 2
            for other in EFFECTS
            if other != terms
        }
        return {other: share for other, share in shares.items() if abs(share) > _TOLERANCE}

    def simple_effect(self, term: str, *, others: bool) -> dict[str, float] | None:
        """The weights of adding a term to all others, or to none; None if a cell is missing."""
        place = TERMS.index(term)
        rest = "1" if others else "0"
        with_term = "".join("1" if n == place else rest for n in range(len(TERMS)))
        without = "".join("0" if n == place else rest for n in range(len(TERMS)))
        if not {with_term, without} <= self.cells.keys():
            return None
        return {self.cells[with_term]: 1.0, self.cells[without]: -1.0}

    def shapley(self, term: str) -> dict[str, float] | None:
        """The weights of the Shapley share of a term; None unless the grid is complete."""
        if not self.complete:
            return None
        place, count = TERMS.index(term), len(TERMS)
        weights: dict[str, float] = {}
        for terms, cell in self.cells.items():
            others = terms.count("1") - (terms[place] == "1")
            share = (
                math.factorial(others) * math.factorial(count - 1 - others) / math.factorial(count)
            )
            weights[cell] = share if terms[place] == "1" else -share
        return weights

    def with_term(self, term: str, *, present: bool = True) -> list[str]:
        """The cells whose term set has, or has not, a term."""
        digit = "1" if present else "0"
        return [cell for terms, cell in self.cells.items() if terms[TERMS.index(term)] == digit]

    def _fraction(self, terms: Effect) -> tuple[str, ...]:
        """The half fraction that a main effect is averaged over; empty for complete pairs."""
        if len(terms) > 1 or len(self._blocks(terms)) >= _PAIRS_OF_A_FRACTION:
            return ()
        halves = (half for half in (HALF_FRACTION, _OTHER_HALF) if {*half} <= self.cells.keys())
        return next(halves, ())

    def _blocks(self, terms: Effect) -> list[list[str]]:
        """The groups of present cells that differ in all combinations of these terms only."""
        blocks: dict[str, list[str]] = {}
        for digits in self.cells:
            rest = "".join(d for d, term in zip(digits, TERMS, strict=True) if term not in terms)
            blocks.setdefault(rest, []).append(digits)
        return [block for block in blocks.values() if len(block) == 2 ** len(terms)]


def term_grids(specs: Mapping[str, Mapping[str, Any]]) -> list[TermGrid]:
    """The grids of at least two term sets among the cells of a group.

    Args:
        specs: the resolved spec of each cell, as JSON.
    """
    families: dict[tuple[frozenset[object], ...], dict[str, dict[str, str]]] = {}
    for cell, spec in specs.items():
        leaves = dict(_leaves("", spec))
        terms = {
            path: str(leaf)
            for path, leaf in leaves.items()
            if path.endswith(".terms") and re.fullmatch("[01]{4}", str(leaf))
        }
        rest = frozenset((path, leaf) for path, leaf in leaves.items() if path not in terms)
        families.setdefault((rest, frozenset(terms)), {})[cell] = terms
    grids = [grid for family in families.values() for grid in _grids(family)]
    return [grid for grid in grids if len(grid.cells) > 1]


def difference(left: Iterable[str], right: Iterable[str]) -> dict[str, float]:
    """The weights of the mean of `left` minus the mean of `right`."""
    weights: dict[str, float] = {}
    for sign, side in ((1.0, list(left)), (-1.0, list(right))):
        for cell in side:
            weights[cell] = weights.get(cell, 0.0) + sign / len(side)
    return weights


def price(weights: Mapping[str, float], costs: Mapping[str, float]) -> float | None:
    """The same contrast of costs; None if a cell's cost is unknown."""
    if not weights.keys() <= costs.keys():
        return None
    return ordered_sum(weight * costs[cell] for cell, weight in weights.items())


def _grids(family: Mapping[str, Mapping[str, str]]) -> list[TermGrid]:
    """The grids among cells whose specs are equal but for the values of `terms`.

    Several mixers of a cell may vary together, as self-attention of encoder and decoder does. The
    mixers that vary are those of the largest set of cells that differ in them only; of very many,
    all or one.
    """
    paths = sorted({path for terms in family.values() for path in terms})
    varying = [path for path in paths if len({terms[path] for terms in family.values()}) > 1]
    cells_by_fixed: dict[tuple[tuple[str, str], ...], dict[str, str]] = {}
    sizes = range(len(varying), 0, -1) if len(varying) <= _MANY else (len(varying), 1)
    subsets = chain.from_iterable(combinations(varying, n) for n in sizes)
    for subset in subsets:
        for cell, terms in family.items():
            if len({terms[path] for path in subset}) == 1:
                fixed = tuple((path, terms[path]) for path in paths if path not in subset)
                cells = cells_by_fixed.setdefault(((str(subset), ""), *fixed), {})
                cells.setdefault(terms[subset[0]], cell)
    grids = sorted(cells_by_fixed.values(), key=len, reverse=True)
    chosen: list[dict[str, str]] = []
    for cells in grids:
        if not any(set(cells.values()) <= set(other.values()) for other in chosen):
            chosen.append(cells)
    return [TermGrid(dict(sorted(cells.items()))) for cells in chosen]


def _leaves(path: str, value: object) -> Iterable[tuple[str, object]]:
    """Each scalar of a JSON value with its path, without defaults that older values lack."""
    if isinstance(value, Mapping):
        items = cast("Mapping[str, object]", value).items()
        return chain.from_iterable(
            _leaves(f"{path}.{name}", item)
            for name, item in items
            if not has_default_of_added_field(name, item)
        )
    if isinstance(value, list | tuple):
        values = cast("list[object]", value)
        return chain.from_iterable(_leaves(f"{path}.{n}", item) for n, item in enumerate(values))
    return [(path, value)]


@functools.cache
def _sign(digits: str, effect: Effect) -> float:
    """The entry of a term set in the column of an effect: the product of -1 and +1 by term."""
    present = dict(zip(TERMS, digits, strict=True))
    return float(math.prod(1 if present[term] == "1" else -1 for term in effect))
