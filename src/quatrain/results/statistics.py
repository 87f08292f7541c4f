"""Confidence and rounding of all statistics, and the summary of a mean."""

import functools
import operator
from collections.abc import Iterable
from dataclasses import dataclass

CONFIDENCE = 0.95
ROUNDING = 2.0**-21
"""Relative standard deviation up to which values are equal: metrics may be rounded to float32."""


def ordered_sum(values: Iterable[float]) -> float:
    """The sum from left to right, which no version of Python computes in another way.

    From Python 3.12 on `sum` compensates the rounding of floats, so that the last digit of a report
    would depend on the version.
    """
    return functools.reduce(operator.add, values, 0.0)


@dataclass(frozen=True)
class Summary:
    """A mean over `n` seeds and its interval; no interval for one seed or for equal values."""

    mean: float
    low: float | None
    high: float | None
    n: int
