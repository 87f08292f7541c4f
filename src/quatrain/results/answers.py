"""Verdicts on a family of contrasts: higher, lower, equivalent within the margin, or inconclusive.

p-values are adjusted together for all contrasts that a study declared. Each contrast has two null
hypotheses, "the difference is zero" and "the difference is at least the margin", of which at most
one can be true; Shaffer's procedure uses this, and without a margin it is Holm's.

A study whose seeds were added after a look at its results tests at a lower level: see `level_at`.

Source: Shaffer 1986, Modified sequentially rejective multiple test procedures,
    https://doi.org/10.1080/01621459.1986.10478341.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from quatrain.results.fit import Estimate, Fit, Weights
from quatrain.results.planning import further_seeds
from quatrain.results.statistics import CONFIDENCE

Verdict = Literal["higher", "lower", "equivalent", "inconclusive"]
LEVEL = 1 - CONFIDENCE


@dataclass(frozen=True)
class Answer:
    """A contrast with its verdict."""

    estimate: Estimate
    adjusted_p: float | None
    """p-value against zero, adjusted for the whole family."""
    adjusted_p_equivalent: float | None
    """p-value of equivalence within the margin, adjusted for the whole family."""
    verdict: Verdict
    further_seeds: int | None
    """Seeds that would settle an inconclusive contrast, if it is worth its estimate (power 80 %);
    None if it is settled, or if more than a hundred would be needed."""


def answer(
    contrasts: Sequence[tuple[Fit, Weights]],
    margin: float | None = None,
    level: float = LEVEL,
    interim: Sequence[float] | None = None,
) -> list[Answer]:
    """The verdicts on a family of contrasts, each of its own fit.

    Args:
        contrasts: fits and weights.
        margin: as in `Fit.contrast`.
        level: the level of the tests; further seeds are for this one.
        interim: the level of each contrast, where it is lower before all planned seeds finish.

    Raises:
        StudyError: if a contrast cannot be estimated.
    """
    levels = [level] * len(contrasts) if interim is None else interim
    answers: list[Answer] = []
    for (fitted, weights), own in zip(contrasts, _judge(contrasts, margin, levels), strict=True):
        more = None
        if own.verdict == "inconclusive":
            more = further_seeds(fitted, weights, margin, level / len(contrasts))
        answers.append(replace(own, further_seeds=more))
    return answers


def verdicts(
    contrasts: Sequence[tuple[Fit, Weights]], margin: float | None, levels: Sequence[float]
) -> list[Verdict]:
    """The verdicts of `answer` alone, with the level of each contrast."""
    return [found.verdict for found in _judge(contrasts, margin, levels)]


def _judge(
    contrasts: Sequence[tuple[Fit, Weights]], margin: float | None, levels: Sequence[float]
) -> list[Answer]:
    """The answers without the seeds that would settle the inconclusive ones."""
    estimates = [fitted.contrast(weights, margin) for fitted, weights in contrasts]
    adjusted = _adjust([(found.p, found.p_equivalent) for found in estimates])
    return [
        Answer(estimate, p, p_equivalent, _verdict(estimate.value, p, p_equivalent, own), None)
        for estimate, (p, p_equivalent), own in zip(estimates, adjusted, levels, strict=True)
    ]


def level_at(looks: Sequence[int], maximum: int | None = None) -> float:
    """The level of tests after the last of several looks, each given by its number of seeds.

    With a declared maximum the level of 5 % is spent in proportion to the seeds, so that all looks
    together have at most 5 % false positives. Without one, the second look has a level of 2.5 %,
    the third of 1.25 %, and so on: together with the first, at most 10 %.

    Source: Kim and DeMets 1987, https://doi.org/10.1093/biomet/74.1.149, with Bonferroni's bound in
        place of the joint distribution.
    """
    if maximum is None:
        return float(LEVEL / 2 ** max(0, len(looks) - 1))
    before = looks[-2] if len(looks) > 1 else 0
    return LEVEL * (min(looks[-1], maximum) - min(before, maximum)) / maximum


def _adjust(
    pairs: Sequence[tuple[float | None, float | None]],
) -> list[tuple[float | None, float | None]]:
    """p-values of (zero, at least the margin) for each contrast, adjusted together."""
    tests = [
        (p, contrast, side)
        for contrast, pair in enumerate(pairs)
        for side, p in enumerate(pair)
        if p is not None
    ]
    adjusted: dict[tuple[int, int], float] = {}
    open_tests = [sum(p is not None for p in pair) for pair in pairs]
    possible = sum(count > 0 for count in open_tests)
    least = 0.0
    for p, contrast, side in sorted(tests):
        least = max(least, min(1.0, possible * p))
        adjusted[contrast, side] = least
        open_tests[contrast] -= 1
        possible -= not open_tests[contrast]
    return [(adjusted.get((n, 0)), adjusted.get((n, 1))) for n in range(len(pairs))]


def _verdict(value: float, p: float | None, p_equivalent: float | None, level: float) -> Verdict:
    if p_equivalent is not None and p_equivalent <= level:
        return "equivalent"
    if p is None or p > level:
        return "inconclusive"
    return "higher" if value > 0 else "lower"
