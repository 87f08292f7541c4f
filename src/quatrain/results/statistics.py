"""Means over seeds with 95 % intervals by Student's t, and differences paired by seed.

    summarize([30.0, 31.0, 32.0])                      mean 31.0, from 28.5 to 33.5, n 3
    paired_difference({0: 31, 1: 33}, {0: 30, 1: 31})  the mean of +1 and +2, n 2
    holm([0.01, 0.04, 0.03])                           0.03, 0.06, 0.06

A seed determines the order of the data and the initialization of each parameter, so the results of
two cells are correlated under one seed, and paired differences vary less. If the correlation is
weak, as for long trainings, pairing only costs degrees of freedom: intervals become wider, but
remain valid.

Values that are equal up to rounding have zero variance, from which no interval can be estimated:
accuracies of 250 examples are often tied. They have a mean, no interval, and p = 1.
"""

import importlib
import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from quatrain.specs import StudyError

CONFIDENCE = 0.95
ROUNDING = 2.0**-21
"""Relative standard deviation up to which values are equal: metrics may be rounded to float32."""


@dataclass(frozen=True)
class Summary:
    """A mean over `n` seeds and its interval; no interval for one seed or for equal values."""

    mean: float
    low: float | None
    high: float | None
    n: int
    p: float | None = None
    """Two-sided p-value of a one-sample t-test against zero; 1 for equal values, None for one
    seed."""

    @property
    def zero_variance(self) -> bool:
        """Whether there are several seeds and all values are equal."""
        return self.n > 1 and self.low is None

    @property
    def significant(self) -> bool:
        """Whether there is an interval that excludes zero."""
        return self.low is not None and self.high is not None and not self.low <= 0 <= self.high

    decided = significant  # the name of 0.1


def summarize(values: Iterable[float]) -> Summary:
    """The mean of `values` and its interval; StudyError without a value."""
    sample = [float(value) for value in values]
    return _summarize(sample, max(map(abs, sample), default=0.0))


def _summarize(sample: list[float], magnitude: float) -> Summary:
    """The summary of values with the rounding errors of numbers of at most `magnitude`."""
    if not sample:
        raise StudyError("no finished run has a value; run the study", "seeds")
    mean, count = statistics.fmean(sample), len(sample)
    if count == 1:
        return Summary(mean, None, None, 1)
    deviation = statistics.stdev(sample)
    if deviation <= ROUNDING * magnitude:
        return Summary(mean, None, None, count, 1.0)
    # scipy is slow to import and `study status` needs none of it.
    special: Any = importlib.import_module("scipy.special")
    half = float(special.stdtrit(count - 1, (1 + CONFIDENCE) / 2)) * deviation / math.sqrt(count)
    p = 2 * float(special.stdtr(count - 1, -abs(mean) / (deviation / math.sqrt(count))))
    return Summary(mean, mean - half, mean + half, count, p)


def paired_difference(left: Mapping[int, float], right: Mapping[int, float]) -> Summary:
    """Summary of `left` minus `right` over their common seeds; StudyError if there are none."""
    seeds = sorted(left.keys() & right.keys())
    magnitude = max((abs(side[seed]) for side in (left, right) for seed in seeds), default=0.0)
    return _summarize([float(left[seed] - right[seed]) for seed in seeds], magnitude)


def holm(p_values: Sequence[float]) -> list[float]:
    """Adjusted p-values, which control the family-wise error rate under any dependence.

    Source: Holm 1979, A simple sequentially rejective multiple test procedure,
        https://www.jstor.org/stable/4615733.
    """
    adjusted, least = [0.0] * len(p_values), 0.0
    for rank, index in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        least = max(least, min(1.0, (len(p_values) - rank) * p_values[index]))
        adjusted[index] = least
    return adjusted
