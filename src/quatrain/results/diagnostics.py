"""Whether the assumptions of a fit hold: equal variances, and what seeds have in common."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import special  # pyright: ignore[reportMissingTypeStubs]

from quatrain.results.fit import Fit
from quatrain.results.statistics import CONFIDENCE, ordered_sum

_functions: Any = special
_FEWEST = 3
"""With two seeds both values of a cell are equally far from its median: no test."""


@dataclass(frozen=True)
class Diagnostics:
    """What a reader should know about a pooled fit."""

    sd: float | None
    """Residual standard deviation."""
    df: int
    cell_sd: Mapping[str, float]
    """Standard deviation over the seeds of each cell with two or more."""
    equal_variances_p: float | None
    """p-value of the Brown-Forsythe test; None with fewer than three seeds a cell."""
    seed_correlation: float | None
    """Correlation of two cells under one seed, by analysis of variance; None for one cell."""

    @property
    def variances_differ(self) -> bool:
        """Whether the variances of the cells differ significantly, so that pooling is doubtful."""
        return self.equal_variances_p is not None and self.equal_variances_p <= 1 - CONFIDENCE


def diagnose(fitted: Fit) -> Diagnostics:
    """The diagnostics of a fit.

    Source: Brown and Forsythe 1974, https://doi.org/10.1080/01621459.1974.10482955.
    """
    values = {cell: list(by_seed.values()) for cell, by_seed in fitted.values.items()}
    return Diagnostics(
        fitted.sd,
        fitted.df,
        {cell: float(np.std(own, ddof=1)) for cell, own in values.items() if len(own) > 1},
        _brown_forsythe([own for own in values.values() if len(own) >= _FEWEST]),
        _seed_correlation(fitted),
    )


def _brown_forsythe(samples: list[list[float]]) -> float | None:
    """p-value of an analysis of variance of the distances to each cell's median."""
    if len(samples) < 2 or not any(np.ptp(sample) for sample in samples):
        return None
    distances = [np.abs(np.array(sample) - np.median(sample)) for sample in samples]
    count, groups = sum(map(len, distances)), len(distances)
    center = float(np.concatenate(distances).mean())
    between = ordered_sum(len(own) * (float(own.mean()) - center) ** 2 for own in distances)
    within = ordered_sum(float(((own - own.mean()) ** 2).sum()) for own in distances)
    if not within:
        return 0.0 if between else None
    ratio = between / (groups - 1) / (within / (count - groups))
    return float(_functions.fdtrc(groups - 1, count - groups, ratio))


def _seed_correlation(fitted: Fit) -> float | None:
    """Share of the variance within cells that is common to the cells of one seed."""
    cells, seeds = len(fitted.design.cells), len(fitted.design.seeds)
    between = fitted.design.rank - cells
    if cells < 2 or between < 1 or not fitted.sd:
        return None
    within = [np.array(list(by_seed.values())) for by_seed in fitted.values.values()]
    total = ordered_sum(float(((own - own.mean()) ** 2).sum()) for own in within)
    mean_square = (total - fitted.sd**2 * fitted.df) / between
    common = (mean_square - fitted.sd**2) * seeds / len(fitted.design.pairs)
    return common / (common + fitted.sd**2)
