"""The contrasts of a study that its next runs should narrow.

These are the declared comparisons, and the main effects of the four terms where a complete grid of
term sets is planned, as far as they are still inconclusive. A contrast that lacks planned runs is
judged as in a report of an unfinished study, at a lower level.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from quatrain.results.answers import LEVEL, Verdict, verdicts
from quatrain.results.factorial import HALF_FRACTION, TERMS, TermGrid
from quatrain.results.fit import Fit, Variance, Weights, fit
from quatrain.results.order import Candidate, GroupDesign, best_candidate

_LEAST_SHARE = 1e-4
"""Of the largest variance, that a cell with equal values has at least."""

Values = Mapping[str, Mapping[int, float]]
"""The metric of the comparisons by cell and seed."""


@dataclass(frozen=True)
class PlannedGroup:
    """The plan of a group of cells, and what is known of it."""

    seeds: Mapping[str, Sequence[int]]
    """The planned seeds of each cell."""
    comparisons: Sequence[Weights]
    grids: Sequence[TermGrid]
    """The complete grids of term sets."""
    values: Values
    """Of finished runs."""
    runs: set[tuple[str, int]]
    """Cells and seeds of the finished and the started runs."""


def most_informative(
    groups: Mapping[str, PlannedGroup],
    found: Mapping[str, GroupDesign],
    candidates: Sequence[Candidate],
) -> int:
    """The index of the run to start next.

    First one run of each cell of a half fraction of the grids of term sets, and of each cell of a
    comparison, then the run that narrows the inconclusive contrasts most.

    Args:
        groups: the plans by name of the group.
        found: their `designs`.
        candidates: the runs to choose from, in the order of equally informative ones.
    """
    by_place: dict[tuple[str, str], int] = {}
    for number, candidate in enumerate(candidates):
        for place in candidate.places:
            by_place.setdefault(place, number)
    started = {(name, cell) for name, group in groups.items() for cell, _ in group.runs}
    for place in _first_places(groups):
        if place in by_place and place not in started:
            return by_place[place]
    return best_candidate(found, candidates)


def _first_places(groups: Mapping[str, PlannedGroup]) -> list[tuple[str, str]]:
    """Group and cell of the half fractions, then of the comparisons."""
    fractions = [
        (name, grid.cells[digits])
        for name, group in groups.items()
        for grid in group.grids
        for digits in HALF_FRACTION
    ]
    compared = [
        (name, cell)
        for name, group in groups.items()
        for weights in group.comparisons
        for cell in weights
    ]
    return [*fractions, *compared]


@dataclass(frozen=True)
class JudgedContrast:
    """A contrast with its verdict so far."""

    group: str
    kind: Literal["comparison", "main effect"]
    number: int
    """In the group, by kind."""
    weights: Weights
    """Empty for a main effect that the present cells cannot give."""
    verdict: Verdict


@dataclass(frozen=True, kw_only=True)
class Judgement:
    """How the contrasts of a study are judged, as `quatrain.study.Study` declares it."""

    margin: float | None = None
    maximum_seeds: int | None = None
    variance: Variance = "pooled"


def judge(groups: Mapping[str, PlannedGroup], by: Judgement) -> list[JudgedContrast]:
    """The contrasts of all groups: the comparisons as one family, each main effect alone."""
    fits = _fits(groups, by)
    compared = [
        JudgedContrast(name, "comparison", number, weights, "inconclusive")
        for name, group in groups.items()
        for number, weights in enumerate(group.comparisons)
    ]
    effects = [
        JudgedContrast(name, "main effect", number, weights, "inconclusive")
        for name, group in groups.items()
        for number, weights in enumerate(_main_effects(group))
    ]
    families = [compared, *([effect] for effect in effects)]
    return [judged for family in families for judged in _judge(family, groups, fits, by)]


def designs(groups: Mapping[str, PlannedGroup], by: Judgement) -> dict[str, GroupDesign]:
    """The design of each group, with its inconclusive contrasts."""
    fits = _fits(groups, by)
    contrasts: dict[str, list[Weights]] = {name: [] for name in groups}
    for judged in judge(groups, by):
        if judged.verdict == "inconclusive" and judged.weights:
            contrasts[judged.group].append(judged.weights)
    return {
        name: _design(
            group,
            contrasts[name],
            None if by.variance == "pooled" else _relative_variances(group, fits.get(name)),
        )
        for name, group in groups.items()
    }


def _fits(groups: Mapping[str, PlannedGroup], by: Judgement) -> dict[str, Fit]:
    return {
        name: fit(group.values, by.variance)
        for name, group in groups.items()
        if any(group.values.values())
    }


def _design(
    group: PlannedGroup, contrasts: Sequence[Weights], variances: Mapping[str, float] | None
) -> GroupDesign:
    seeds = {seed for own in group.seeds.values() for seed in own} | {s for _, s in group.runs}
    return GroupDesign(list(group.seeds), sorted(seeds), contrasts, group.runs, variances)


def _relative_variances(group: PlannedGroup, fitted: Fit | None) -> dict[str, float]:
    """The variance of each cell by the largest, and at least a small part of it."""
    found = {cell: fitted.variance_of(cell) if fitted else None for cell in group.seeds}
    largest = max((variance for variance in found.values() if variance), default=1.0)
    return {
        cell: max((1.0 if variance is None else variance) / largest, _LEAST_SHARE)
        for cell, variance in found.items()
    }


def _judge(
    family: Sequence[JudgedContrast],
    groups: Mapping[str, PlannedGroup],
    fits: Mapping[str, Fit],
    by: Judgement,
) -> list[JudgedContrast]:
    """The contrasts of a family with their verdicts."""
    known = [
        contrast
        for contrast in family
        if contrast.group in fits
        and contrast.weights
        and fits[contrast.group].can_estimate(contrast.weights)
    ]
    contrasts = [(fits[contrast.group], contrast.weights) for contrast in known]
    levels = [
        _level(groups[contrast.group], contrast.weights, by.maximum_seeds) for contrast in known
    ]
    found = {
        (contrast.group, contrast.number): verdict
        for contrast, verdict in zip(known, verdicts(contrasts, by.margin, levels), strict=True)
    }
    return [
        replace(contrast, verdict=found.get((contrast.group, contrast.number), contrast.verdict))
        for contrast in family
    ]


def _level(group: PlannedGroup, cells: Weights, maximum_seeds: int | None) -> float:
    """5 %, or its part for one look of many while planned runs are missing."""
    planned = [len(group.seeds[cell]) for cell in cells]
    done = [len(group.values.get(cell, {})) for cell in cells]
    if all(own >= of for own, of in zip(done, planned, strict=True)):
        return LEVEL
    return LEVEL / (maximum_seeds or max(planned))


def _main_effects(group: PlannedGroup) -> list[Weights]:
    """The main effects in the grids, as the finished and started cells will give them."""
    started = {cell for cell, _ in group.runs}
    partial = [
        TermGrid({digits: cell for digits, cell in grid.cells.items() if cell in started})
        for grid in group.grids
    ]
    return [grid.effect(term) or {} for grid in partial for term in TERMS]
