"""How precise a contrast will be, and how many seeds settle it.

    power_of_difference(effect=1.0, error=0.3, df=30)             chance to find a difference of 1.0
    power_of_equivalence(effect=0.0, margin=0.5, error=0.2, df=30)
    further_seeds(fitted, {"1111": 1, "0111": -1}, margin=0.5)    3

The number of seeds is for a power of 80 % if the true value is the estimate: a plan, no promise.
"""

from collections import Counter
from contextlib import suppress
from typing import Any

import numpy as np
from scipy import special  # pyright: ignore[reportMissingTypeStubs]

from quatrain.results.fit import Design, Fit, Weights, welch
from quatrain.results.statistics import CONFIDENCE, ordered_sum
from quatrain.specs import StudyError

POWER = 0.8
MOST_SEEDS = 100
"""Plans with more seeds than this are not considered."""

_functions: Any = special
_QUANTILES = (np.arange(400) + 0.5) / 400


def expected_error(fitted: Fit, weights: Weights, planned: Design) -> tuple[float, float] | None:
    """The standard error of a contrast after `planned`, and its degrees of freedom.

    The variances are those of the fit: pooled, or that of each cell if the fit has separate ones.
    A cell with fewer than two runs so far has the mean variance of the others. None if the variance
    is unknown or zero, if the cells share no planned seeds, or if the planned runs leave no degrees
    of freedom.
    """
    if fitted.variance == "pooled":
        with suppress(StudyError):
            error, df = (fitted.sd or 0.0) * planned.factor(weights), planned.df
            return (error, df) if error and df else None
        return None
    counts = Counter(cell for cell, _ in planned.pairs)
    parts = {
        cell: weight**2 * (fitted.variance_of(cell) or 0.0) / max(1, counts[cell])
        for cell, weight in weights.items()
        if weight
    }
    if min(counts[cell] for cell in parts) < 2:
        return None
    error, df = welch(parts, counts)
    return (error, df) if error else None


def half_width(error: float, df: float, level: float = 1 - CONFIDENCE) -> float:
    """Half of the width of the interval of a contrast with this standard error."""
    return float(_functions.stdtrit(df, 1 - level / 2)) * error


def power_of_difference(
    effect: float, error: float, df: float, level: float = 1 - CONFIDENCE
) -> float:
    """The probability that a two-sided t-test finds an effect of this size."""
    critical, shift = float(_functions.stdtrit(df, 1 - level / 2)), abs(effect) / error
    tails = _functions.nctdtr(df, shift, [critical, -critical])
    return float(1 - tails[0] + tails[1])


def power_of_equivalence(
    effect: float, margin: float, error: float, df: float, level: float = 1 - CONFIDENCE
) -> float:
    """The probability that two one-sided t-tests find a value within the margin.

    The probability given the estimated variance is averaged over its chi-squared distribution.
    """
    scale = np.sqrt(_functions.chdtri(df, 1 - _QUANTILES) / df)
    reach = margin - float(_functions.stdtrit(df, 1 - level)) * error * scale
    inside = _functions.ndtr((reach - effect) / error) - _functions.ndtr((-reach - effect) / error)
    return float(np.clip(inside, 0, None).mean())


def further_seeds(
    fitted: Fit, weights: Weights, margin: float | None, level: float = 1 - CONFIDENCE
) -> int | None:
    """The least number of further seeds of all cells that would settle a contrast.

    None without an estimate of the variance, or if more than a hundred seeds would be needed. If
    the cells have unequal seeds so far, the number is an approximation.
    """
    estimate = fitted.contrast(weights)
    if not estimate.standard_error:
        return None
    value, error_now = estimate.value, estimate.standard_error
    information = fitted.design.factor(weights) ** -2
    of_a_seed = 1 / ordered_sum(weight**2 for weight in weights.values())

    def settled(further: int) -> bool:
        error = error_now / (1 + further * of_a_seed / information) ** 0.5
        df = estimate.df + further * (len(fitted.design.cells) - 1)
        found = power_of_difference(value, error, df, level)
        if margin is not None and abs(value) < margin:
            found = max(found, power_of_equivalence(value, margin, error, df, level))
        return found >= POWER

    low, high = 0, 1
    while not settled(high):
        low, high = high, 2 * high
        if low > MOST_SEEDS:
            return None
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if settled(middle) else (middle, high)
    return high if high <= MOST_SEEDS else None
