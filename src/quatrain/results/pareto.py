"""The front of accuracy against cost, and how sure it is which cells belong to it."""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

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

    Cell means are drawn jointly from their t distribution, or each from its own if variances are
    separate; costs have no noise.
    """
    found = memberships(fitted, [costs], lower_is_better=lower_is_better, seed=seed)
    return found[0] if found else None


def memberships(
    fitted: Fit,
    costs: Sequence[Mapping[str, float]],
    *,
    lower_is_better: bool = False,
    seed: int = 0,
) -> list[dict[str, float]] | None:
    """`membership` for each of several costs, from the same draws."""
    separate = fitted.variance == "separate"
    drawn = _draw_separately(fitted, seed) if separate else _draw_means(fitted, seed)
    if drawn is None:
        return None
    if lower_is_better:
        drawn = -drawn
    return [_shares(drawn, fitted.design.cells, by_cell) for by_cell in costs]


def _draw_means(fitted: Fit, seed: int) -> NDArray[np.float32] | None:
    """Cell means in residual standard deviations: rows are draws, columns are `design.cells`.

    None without residual variance, and if cells share no seeds.
    """
    if not fitted.sd or not all(fitted.can_estimate({cell: 1.0}) for cell in fitted.design.cells):
        return None
    means = np.array([fitted.contrast({cell: 1.0}).value for cell in fitted.design.cells])
    values, vectors = np.linalg.eigh(fitted.covariance_of_means())
    # The symmetric root is unique: eigenvectors differ between versions of the library.
    roots = (vectors * np.sqrt(values.clip(0)) @ vectors.T).astype(np.float32)
    generator = np.random.default_rng(seed)
    normal = generator.standard_normal((DRAWS, len(means)), np.float32)
    scale = np.sqrt(fitted.df / generator.chisquare(fitted.df, (DRAWS, 1)))
    center = (means - means.mean()) / fitted.sd
    return (center + scale * (normal @ roots)).astype(np.float32)


def _draw_separately(fitted: Fit, seed: int) -> NDArray[np.float32] | None:
    """The same, each mean with its own variance; None if a cell has one seed only."""
    found = [fitted.contrast({cell: 1.0}) for cell in fitted.design.cells]
    errors = np.array([estimate.standard_error or 0.0 for estimate in found])
    if any(estimate.standard_error is None for estimate in found) or not errors.any():
        return None
    means = np.array([estimate.value for estimate in found])
    df = np.array([estimate.df for estimate in found])
    noise = np.random.default_rng(seed).standard_t(df, (DRAWS, len(found)))
    return ((means - means.mean() + errors * noise) / errors.max()).astype(np.float32)


def _shares(
    drawn: NDArray[np.float32], cells: Sequence[str], costs: Mapping[str, float]
) -> dict[str, float]:
    """The share of draws in which each cell with a cost is on the front."""
    columns = [column for column, cell in enumerate(cells) if cell in costs]
    cost = np.array([costs[cells[column]] for column in columns])
    values = np.ascontiguousarray(drawn[:, columns].T)
    counts = np.zeros(len(columns))
    best = np.full(DRAWS, -np.inf, np.float32)
    for level in np.unique(cost):
        tied = np.flatnonzero(cost == level)
        highest = values[tied].max(axis=0)
        counts[tied] = ((values[tied] == highest) & (highest > best)).sum(axis=1)
        best = np.maximum(best, highest)
    names = (cells[column] for column in columns)
    return dict(zip(names, (counts / DRAWS).tolist(), strict=True))
