"""One least-squares fit for a group of cells: each question is a linear contrast of cell means.

    fitted = fit({"1111": {0: 36.3, 1: 36.5}, "w/o": {0: 33.8, 1: 34.1}, "0010": {0: 34.9, 1: 35}})
    fitted.contrast({"1111": 1, "w/o": -1}, margin=0.5)    value 2.45, its interval and p-values

The model of a value is the mean of its cell, plus an effect of its seed, plus noise:

    y[cell, seed] = mean[cell] + effect[seed] + noise

The variance of the noise is pooled over all cells, so that each contrast has n - rank degrees of
freedom, and not only those of its own cells. Two cells that share their seeds give the paired
t-test. Cells may have different seeds: the fit adjusts for the seeds that a cell lacks.

With `variance="separate"` each cell has a variance of its own and there is no effect of seeds
(Welch-Satterthwaite): for cells whose spreads differ.

Values that are equal up to rounding have zero variance, from which no interval can be estimated.

Source: Montgomery, Design and Analysis of Experiments, chapter 4 (randomized blocks); equivalence
    by two one-sided tests: Schuirmann 1987, https://doi.org/10.1007/BF01068419.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy import special  # pyright: ignore[reportMissingTypeStubs]

from quatrain.results.statistics import CONFIDENCE, ROUNDING, Summary, ordered_sum
from quatrain.specs import StudyError

Array = NDArray[np.float64]
Indices = NDArray[np.int64]
Weights = Mapping[str, float]
"""The weights of a contrast by the name of the cell; a difference has weights 1 and -1."""

Variance = Literal["pooled", "separate"]
_functions: Any = special
_TOLERANCE = 1e-9


@dataclass(frozen=True)
class Estimate:
    """A contrast of cell means with its interval; no interval without an estimate of the noise."""

    value: float
    standard_error: float | None
    df: float
    """Degrees of freedom of the variance."""
    low: float | None
    high: float | None
    p: float | None
    """Two-sided p-value against zero: 1 for values without variance, None without degrees of
    freedom."""
    margin: float | None = None
    p_equivalent: float | None = None
    """p-value of the two one-sided tests that the contrast lies within the margin."""


class Design:
    """Which cells have which seeds, and how precisely a contrast is known from them."""

    def __init__(self, seeds: Mapping[str, Iterable[int]]) -> None:
        """Build the normal equations of cell means and seed effects."""
        self.pairs: list[tuple[str, int]] = [
            (cell, seed) for cell, own in seeds.items() for seed in own
        ]
        self.cells: list[str] = list(dict.fromkeys(cell for cell, _ in self.pairs))
        self._row_of_cell = {cell: row for row, cell in enumerate(self.cells)}
        self.seeds: list[int] = sorted({seed for _, seed in self.pairs})
        column_of_seed = {seed: len(self.cells) + n for n, seed in enumerate(self.seeds)}
        size = len(self.cells) + len(self.seeds)
        self.rows: Indices = np.array([self._row_of_cell[cell] for cell, _ in self.pairs])
        self.columns: Indices = np.array([column_of_seed[seed] for _, seed in self.pairs])
        normal = np.zeros((size, size))
        np.add.at(normal, (self.rows, self.rows), 1.0)
        np.add.at(normal, (self.columns, self.columns), 1.0)
        np.add.at(normal, (self.rows, self.columns), 1.0)
        np.add.at(normal, (self.columns, self.rows), 1.0)
        values, vectors = np.linalg.eigh(normal)
        positive = values > _TOLERANCE * max(values.max(initial=0.0), 1.0)
        self.rank: int = int(positive.sum())
        self.basis: Array = vectors[:, positive]
        self.inverse: Array = (self.basis / values[positive]) @ self.basis.T
        self._vectors: dict[tuple[tuple[str, float], ...], Array] = {}
        self._factors: dict[tuple[tuple[str, float], ...], float] = {}

    @property
    def df(self) -> int:
        """Residual degrees of freedom."""
        return len(self.pairs) - self.rank

    def vector(self, weights: Weights) -> Array:
        """The contrast as weights of all coefficients; cell means are averages over all seeds.

        Raises:
            StudyError: if a cell has no run, or if its seeds are not connected with the others.
        """
        key = tuple(weights.items())
        if key not in self._vectors:
            self._vectors[key] = self._vector(weights)
        return self._vectors[key]

    def _vector(self, weights: Weights) -> Array:
        for cell in weights:
            if cell not in self._row_of_cell:
                raise StudyError(f"cell {cell} has no finished run; run it first", "cell")
        contrast = np.zeros(len(self.cells) + len(self.seeds))
        for cell, weight in weights.items():
            contrast[self._row_of_cell[cell]] = weight
        contrast[len(self.cells) :] = sum(weights.values()) / len(self.seeds)
        outside = contrast - self.basis @ (self.basis.T @ contrast)
        if np.abs(outside).max() > _TOLERANCE * max(1.0, np.abs(contrast).max()):
            names = ", ".join(weights)
            raise StudyError(f"the cells {names} share no seeds; run them with the same", "seeds")
        return contrast

    def factor(self, weights: Weights) -> float:
        """The standard error of a contrast, in residual standard deviations."""
        key = tuple(weights.items())
        if key not in self._factors:
            contrast = self.vector(weights)
            self._factors[key] = float(np.sqrt(max(0.0, contrast @ self.inverse @ contrast)))
        return self._factors[key]


class Fit:
    """Cell means, seed effects and residual variance of one metric in one group of cells."""

    def __init__(
        self, values: Mapping[str, Mapping[int, float]], variance: Variance = "pooled"
    ) -> None:
        """Fit all values, by cell and seed."""
        self.values: dict[str, dict[int, float]] = {
            cell: dict(by_seed) for cell, by_seed in values.items() if by_seed
        }
        if not self.values:
            raise StudyError("no run is finished; run the study", "seeds")
        self.variance: Variance = variance
        self._largest = max(abs(v) for own in self.values.values() for v in own.values())

    @cached_property
    def design(self) -> Design:
        """The cells and seeds that have values."""
        return Design(self.values)

    @property
    def df(self) -> int:
        """Residual degrees of freedom of the pooled fit."""
        return self.design.df

    @cached_property
    def sd(self) -> float | None:
        """Residual standard deviation; None without degrees of freedom, 0 if only rounding."""
        if not self.df:
            return None
        residuals = np.array([*self.residuals.values()])
        sd = float(np.sqrt(residuals @ residuals / self.df))
        return sd if sd > ROUNDING * self._largest else 0.0

    @cached_property
    def residuals(self) -> dict[tuple[str, int], float]:
        """What the model leaves, by cell and seed."""
        center, coefficients = self._solution
        fitted = coefficients[self.design.rows] + coefficients[self.design.columns] + center
        return dict(zip(self.design.pairs, (self._flat - fitted).tolist(), strict=True))

    def mean(self, cell: str) -> Summary:
        """The mean of a cell over its seeds; its interval covers the choice of seeds.

        The variance within cells is pooled over the group, unless variances are separate.
        """
        own = [*self.values[cell].values()]
        squares, df = self._within[cell] if self.variance == "separate" else self._pooled
        mean = sum(own) / len(own)
        if not df:
            return Summary(mean, None, None, len(own))
        error = (squares / df / len(own)) ** 0.5
        found = estimate(mean, error if error > ROUNDING * self._largest else 0.0, df, None)
        return Summary(mean, found.low, found.high, len(own))

    def variance_of(self, cell: str) -> float | None:
        """The variance over the seeds of a cell; pooled over all cells if it has one seed or none.

        None if no cell has two seeds.
        """
        squares, df = self._within.get(cell, (0.0, 0))
        if not df:
            squares, df = self._pooled
        return squares / df if df else None

    @cached_property
    def _within(self) -> dict[str, tuple[float, int]]:
        """Sum of squares and degrees of freedom within each cell."""
        samples = {cell: np.array([*own.values()]) for cell, own in self.values.items()}
        return {
            cell: (float(((sample - sample.mean()) ** 2).sum()), len(sample) - 1)
            for cell, sample in samples.items()
        }

    @cached_property
    def _pooled(self) -> tuple[float, int]:
        squares, degrees = zip(*self._within.values(), strict=True)
        return ordered_sum(squares), sum(degrees)

    def contrast(self, weights: Weights, margin: float | None = None) -> Estimate:
        """The estimate of a weighted sum of cell means.

        Args:
            weights: by cell; for a difference they sum to zero. A mean (sum 1) is over all seeds of
                the group, and its interval does not cover the choice of other seeds.
            margin: the contrast is tested for lying between -margin and +margin.

        Raises:
            StudyError: if a cell has no run, or if the cells share no seeds.
        """
        if self.variance == "separate":
            return self._separate(weights, margin)
        vector = self.design.vector(weights)
        center, coefficients = self._solution
        value = float(vector @ coefficients) + center * ordered_sum(weights.values())
        if self.sd is None:
            return Estimate(value, None, 0, None, None, None, margin)
        return estimate(value, self.sd * self.design.factor(weights), self.df, margin)

    def can_estimate(self, weights: Weights) -> bool:
        """Whether the cells of a contrast have runs, connected by common seeds."""
        try:
            self.design.vector(weights)
        except StudyError:
            return False
        return True

    def covariance_of_means(self) -> Array:
        """Covariance of the cell means, in residual variances: rows are `design.cells`."""
        rows = np.stack([self.design.vector({cell: 1.0}) for cell in self.design.cells])
        return rows @ self.design.inverse @ rows.T

    @cached_property
    def _flat(self) -> Array:
        return np.array([self.values[cell][seed] for cell, seed in self.design.pairs])

    @cached_property
    def _solution(self) -> tuple[float, Array]:
        """The mean of all values, and the coefficients of cells and seeds of their differences."""
        center = float(self._flat.mean())
        right = np.zeros(len(self.design.inverse))
        np.add.at(right, self.design.rows, self._flat - center)
        np.add.at(right, self.design.columns, self._flat - center)
        return center, self.design.inverse @ right

    def _separate(self, weights: Weights, margin: float | None) -> Estimate:
        """Welch's standard error and Satterthwaite's degrees of freedom."""
        self.design.vector(dict.fromkeys(weights, 0.0))
        used = {cell: weight for cell, weight in weights.items() if weight}
        means = {cell: float(np.mean([*self.values[cell].values()])) for cell in used}
        value = ordered_sum(weight * means[cell] for cell, weight in used.items())
        counts = {cell: len(self.values[cell]) for cell in used}
        if min(counts.values(), default=0) < 2:
            return Estimate(value, None, 0, None, None, None, margin)
        parts = {
            cell: weight**2 * float(np.var([*self.values[cell].values()], ddof=1)) / counts[cell]
            for cell, weight in used.items()
        }
        error, df = welch(parts, counts)
        if error <= ROUNDING * self._largest:
            error, df = 0.0, float(sum(counts.values()) - len(counts))
        return estimate(value, error, df, margin)


def welch(parts: Mapping[str, float], counts: Mapping[str, int]) -> tuple[float, float]:
    """Welch's standard error of a sum of cell means, and Satterthwaite's degrees of freedom.

    Args:
        parts: by cell, the variance of its term: squared weight times variance by number of runs.
        counts: by cell, the number of runs, two or more.
    """
    total = ordered_sum(parts.values())
    if not total:
        return 0.0, float(sum(counts[cell] - 1 for cell in parts))
    shares = {cell: part / total for cell, part in parts.items()}  # squares may overflow
    df = 1 / ordered_sum(share**2 / (counts[cell] - 1) for cell, share in shares.items())
    return total**0.5, df


def fit(values: Mapping[str, Mapping[int, float]], variance: Variance = "pooled") -> Fit:
    """Fit the values of one metric, by cell and seed.

    Raises:
        StudyError: if there is no value.
    """
    return Fit(values, variance)


def estimate(value: float, error: float, df: float, margin: float | None) -> Estimate:
    """The interval and the p-values of a value with a standard error."""
    if not error:
        return Estimate(value, 0.0, df, None, None, 1.0, margin, None)
    half = float(_functions.stdtrit(df, (1 + CONFIDENCE) / 2)) * error
    p = 2 * float(_functions.stdtr(df, -abs(value) / error))
    within = None
    if margin is not None:
        within = float(_functions.stdtr(df, (abs(value) - margin) / error))
    return Estimate(value, error, df, value - half, value + half, p, margin, within)
