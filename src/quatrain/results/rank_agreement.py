"""Kendall's rank correlation of a cheap score with a metric that was measured over seeds.

    rank_agreement({"1111": {0: 88, 1: 89}, "0010": {0: 37, 1: 36}}, {"1111": 80, "0010": 40})

Cells whose metrics do not differ significantly have no known order, so the correlation counts the
other pairs alone.
"""

import itertools
from collections.abc import Mapping
from dataclasses import dataclass

from quatrain.results.answers import LEVEL
from quatrain.results.fit import Variance, fit
from quatrain.specs import StudyError


@dataclass(frozen=True)
class RankAgreement:
    """How well a score orders the pairs of cells whose order is known.

    Args:
        concordant: the significant pairs that the score orders alike.
        discordant: those that it orders the other way round.
        significant: the pairs whose 95 % interval excludes zero; a pair of equal scores is neither.
        pairs: all pairs of cells.
        tau_of_all: Kendall's tau over all pairs, by the means of the metric.
    """

    concordant: int
    discordant: int
    significant: int
    pairs: int
    tau_of_all: float

    @property
    def tau(self) -> float | None:
        """Kendall's tau over the significant pairs; None if there is none."""
        if not self.significant:
            return None
        return (self.concordant - self.discordant) / self.significant


def rank_agreement(
    values: Mapping[str, Mapping[int, float]],
    scores: Mapping[str, float],
    variance: Variance = "pooled",
) -> RankAgreement:
    """Compare the order of cells by score with that by metric.

    Differences are those of the least-squares fit of all cells, each at a level of 5 %.

    Args:
        values: the metric by cell and seed; only cells that have a score are compared.
        scores: the score by cell; higher means that a higher metric is expected.
        variance: as in `quatrain.results.fit.fit`.

    Source: Kendall 1938, https://doi.org/10.1093/biomet/30.1-2.81 (tau a, of the chosen pairs).

    Raises:
        StudyError: if fewer than two cells have both.
    """
    cells = [cell for cell in values if cell in scores and values[cell]]
    if len(cells) < 2:
        raise StudyError("fewer than two cells have a metric and a score; run them first", "scores")
    fitted = fit(values, variance)
    concordant = discordant = significant = agreement = pairs = 0
    for left, right in itertools.combinations(cells, 2):
        found = fitted.contrast({left: 1.0, right: -1.0})
        sign = _sign(found.value) * _sign(scores[left] - scores[right])
        pairs += 1
        agreement += sign
        if found.p is not None and found.p <= LEVEL:
            significant += 1
            concordant += sign > 0
            discordant += sign < 0
    return RankAgreement(concordant, discordant, significant, pairs, agreement / pairs)


def _sign(value: float) -> int:
    return (value > 0) - (value < 0)
