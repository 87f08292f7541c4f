"""The front of accuracy against cost, and how sure it is which cells belong to it."""

from collections.abc import Mapping

import numpy as np

from quatrain.results.fit import Fit

DRAWS = 4000


def front(values: Mapping[str, float], costs: Mapping[str, float]) -> list[str]:
    """The cells that no other cell equals or exceeds at an equal or lower cost, by cost."""
    chosen: list[str] = []
    best = -float("inf")
    for cell in sorted(values, key=lambda cell: (costs[cell], -values[cell])):
        if values[cell] > best:
            chosen.append(cell)
            best = values[cell]
    return chosen


def membership(
    fitted: Fit, costs: Mapping[str, float], *, lower_is_better: bool = False, seed: int = 0
) -> dict[str, float] | None:
    """The probability of each cell to be on the front; None without an estimate of the noise.

    Cell means are drawn jointly from their t distribution; costs have no noise.
    """
    if not fitted.sd:
        return None
    cells = [cell for cell in fitted.design.cells if cell in costs]
    means = np.array([fitted.contrast({cell: 1.0}).value for cell in cells])
    order = [fitted.design.cells.index(cell) for cell in cells]
    covariance = fitted.covariance_of_means()[np.ix_(order, order)] * fitted.sd**2
    values, vectors = np.linalg.eigh(covariance)
    generator = np.random.default_rng(seed)
    normal = generator.standard_normal((DRAWS, len(cells)))
    scale = np.sqrt(fitted.df / generator.chisquare(fitted.df, (DRAWS, 1)))
    drawn = means + scale * (normal @ (vectors * np.sqrt(values.clip(0))).T)
    if lower_is_better:
        drawn = -drawn
    cost = np.array([costs[cell] for cell in cells])
    counts = np.zeros(len(cells))
    best = np.full(DRAWS, -np.inf)
    for level in np.unique(cost):
        tied = np.flatnonzero(cost == level)
        highest = drawn[:, tied].max(axis=1)
        counts[tied] = ((drawn[:, tied] == highest[:, None]) & (highest > best)[:, None]).sum(
            axis=0
        )
        best = np.maximum(best, highest)
    return dict(zip(cells, (counts / DRAWS).tolist(), strict=True))
