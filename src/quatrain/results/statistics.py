"""Means over seeds with 95 % intervals by Student's t, and differences paired by seed.

    summarize([30.0, 31.0, 32.0])                      mean 31.0, from 28.5 to 33.5, n 3
    paired_difference({0: 31, 1: 33}, {0: 30, 1: 31})  the mean of +1 and +2, n 2

A seed fixes the order of the data and the first value of each parameter by its name, so two cells
under one seed share that luck; subtracting seed by seed cancels it, which makes the interval of
the difference narrower.
"""

import math
import statistics
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from quatrain.specs import StudyError

CONFIDENCE = 0.95


@dataclass(frozen=True)
class Summary:
    """A mean over `n` seeds and its interval, which one seed alone cannot give."""

    mean: float
    low: float | None
    high: float | None
    n: int

    @property
    def decided(self) -> bool:
        """Whether there is an interval and it leaves zero out."""
        return self.low is not None and self.high is not None and not self.low <= 0 <= self.high


def summarize(values: Iterable[float]) -> Summary:
    """The mean of `values` and its interval.

    Raises:
        StudyError: if there is no value.
    """
    sample = [float(value) for value in values]
    if not sample:
        raise StudyError("seeds", "none", "at least one finished run", "run the study")
    mean, count = statistics.fmean(sample), len(sample)
    if count == 1:
        return Summary(mean, None, None, 1)
    half = _quantile(count - 1) * statistics.stdev(sample) / math.sqrt(count)
    return Summary(mean, mean - half, mean + half, count)


def paired_difference(left: Mapping[int, float], right: Mapping[int, float]) -> Summary:
    """Summary of `left` minus `right` over the seeds that both have.

    Raises:
        StudyError: if they have no seed in common.
    """
    seeds = sorted(left.keys() & right.keys())
    return summarize(left[seed] - right[seed] for seed in seeds)


def _quantile(degrees_of_freedom: int) -> float:
    # scipy is slow to import and `study status` needs none of it.
    from scipy import special  # pyright: ignore[reportMissingTypeStubs]

    functions: Any = special
    return float(functions.stdtrit(degrees_of_freedom, (1 + CONFIDENCE) / 2))
