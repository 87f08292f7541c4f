"""Confidence and rounding of all statistics, and the summary of a mean."""

from dataclasses import dataclass

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
