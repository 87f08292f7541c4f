"""The order of runs that narrows the contrasts of a study fastest.

    designs = {"self": GroupDesign(["1111", "0111"], (0, 1), [{"1111": 1, "0111": -1}])}
    list(order(designs, [Candidate(0, (("self", "1111"),)), Candidate(0, (("self", "0111"),))]))

The model of a value is that of `quatrain.results.fit`: a cell mean, an effect of the seed, and
noise. Here means and effects have vague normal priors, so that each contrast has a finite variance
before its cells have runs, and one run more changes the covariance of all means by a matrix of
rank one. The gain of a run is the relative decrease of the widths of the intervals of the contrasts
(of the logarithm of their product). It depends neither on the unit of a group nor on values.

Source: Chaloner and Verdinelli 1995, Bayesian experimental design (linear models),
    https://doi.org/10.1214/ss/1177009939.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import special  # pyright: ignore[reportMissingTypeStubs]

from quatrain.results.fit import Array, Indices, Weights
from quatrain.results.statistics import CONFIDENCE

CELL_SD = 10.0
"""Prior standard deviation of cell means, in residual standard deviations."""

SEED_SD = 1.0
"""The same of effects of seeds: a cell's first run with a new seed says a little, its partner with
the same seed the rest."""

_TIE = 1e-9
_MOST_DEGREES = 1000
_functions: Any = special
_QUANTILES: Array = _functions.stdtrit(np.arange(1, _MOST_DEGREES + 2), (1 + CONFIDENCE) / 2)
"""By degrees of freedom, as if there were one more: the width without any is finite."""


@dataclass(frozen=True)
class Candidate:
    """A run that can be started next."""

    seed: int
    places: tuple[tuple[str, str], ...]
    """The groups and cells that it belongs to."""


class GroupDesign:
    """The runs of a group, finished or started, and its contrasts that are still inconclusive."""

    def __init__(
        self,
        cells: Sequence[str],
        seeds: Iterable[int],
        contrasts: Sequence[Weights],
        runs: Iterable[tuple[str, int]] = (),
        variances: Mapping[str, float] | None = None,
    ) -> None:
        """Compute the covariance of cell means and effects of seeds after `runs`.

        Args:
            cells: all cells of the group.
            seeds: the seeds of `runs` and of all candidates.
            contrasts: weights by cell.
            runs: cells and seeds so far.
            variances: the variance of each cell, relative to the others, where cells have separate
                ones and seeds no effect; None for a pooled variance.
        """
        self._pooled = variances is None
        self._rows = {cell: row for row, cell in enumerate(cells)}
        self._columns = {seed: len(cells) + n for n, seed in enumerate(dict.fromkeys(seeds))}
        size = len(cells) + len(self._columns)
        self._noise: Array = np.ones(len(cells))
        if variances is not None:
            self._noise[:] = [variances[cell] for cell in cells]
        self._weights: Array = np.zeros((len(contrasts), size))
        for number, weights in enumerate(contrasts):
            for cell, weight in weights.items():
                self._weights[number, self._rows[cell]] = weight
        self._counts: Indices = np.zeros(size, np.int64)
        self._component: Indices = np.arange(size)
        """Cells and seeds that runs connect have the same number."""
        self._df: Indices = np.zeros(len(contrasts), np.int64)
        precision = np.diag(np.where(np.arange(size) < len(cells), CELL_SD, SEED_SD) ** -2.0)
        for cell, seed in runs:
            row, column = self._rows[cell], self._columns[seed]
            self._count(row, column)
            places = [row, column] if self._pooled else [row]
            precision[np.ix_(places, places)] += 1 / self._noise[row]
        self._covariance: Array = np.asarray(np.linalg.inv(precision), np.float64)
        self._contrasts: Array = self._weights @ self._covariance
        self._variances: Array = (self._contrasts * self._weights).sum(axis=1)

    @property
    def seeds(self) -> frozenset[int]:
        """The seeds that have a run."""
        return frozenset(seed for seed, column in self._columns.items() if self._counts[column])

    def gains(self, runs: Sequence[tuple[str, int]]) -> Array:
        """The relative decrease of the widths of the contrasts by each of `runs`."""
        rows = np.array([self._rows[cell] for cell, _ in runs], np.int64)
        columns = np.array([self._columns[seed] for _, seed in runs], np.int64)
        shared = self._contrasts[:, rows]
        own = self._covariance[rows, rows] + self._noise[rows]
        if self._pooled:
            shared = shared + self._contrasts[:, columns]
            own = own + self._covariance[columns, columns] + 2 * self._covariance[rows, columns]
        remaining = (1 - shared**2 / own / self._variances[:, None]).clip(_TIE)
        df = self._df[:, None] + self._gained_degrees(rows, columns)
        quantiles = _quantile(self._df)[:, None] / _quantile(df)
        return (np.log(quantiles) - np.log(remaining) / 2).sum(axis=0)

    def add(self, cell: str, seed: int) -> None:
        """Add a run."""
        row, column = self._rows[cell], self._columns[seed]
        self._count(row, column)
        shared = self._covariance[row].copy()
        of_contrasts = self._contrasts[:, row].copy()
        own = self._noise[row] + self._covariance[row, row]
        if self._pooled:
            shared += self._covariance[column]
            of_contrasts += self._contrasts[:, column]
            own += self._covariance[column, column] + 2 * self._covariance[row, column]
        self._variances -= of_contrasts**2 / own
        self._contrasts -= of_contrasts[:, None] * (shared / own)
        self._covariance -= shared[:, None] * (shared / own)

    def _count(self, row: int, column: int) -> None:
        self._df += self._gained_degrees(np.array([row]), np.array([column]))[:, 0]
        self._counts[[row, column]] += 1
        self._component[self._component == self._component[column]] = self._component[row]

    def _gained_degrees(self, rows: Indices, columns: Indices) -> Indices:
        """Degrees of freedom of the variance of each contrast (rows) that each run adds.

        A run that connects a cell and a seed, as the first run of either, is spent on a mean or an
        effect. With separate variances those of the cells of a contrast are added up.
        """
        if self._pooled:
            repeats = self._component[rows] == self._component[columns]
            return np.broadcast_to(repeats, (len(self._df), len(rows))).astype(np.int64)
        repeats = self._counts[rows] > 0
        return (repeats & (self._weights[:, rows] != 0)).astype(np.int64)


def order(designs: Mapping[str, GroupDesign], candidates: Sequence[Candidate]) -> Iterator[int]:
    """The indices of all candidates, each the one with the largest gain after those before.

    Candidates of equal gain keep their order. The designs are changed: each run is added to them.
    """
    left = dict(enumerate(candidates))
    while left:
        numbers = list(left)
        best = numbers[best_candidate(designs, list(left.values()))]
        add(designs, left.pop(best))
        yield best


def best_candidate(designs: Mapping[str, GroupDesign], candidates: Sequence[Candidate]) -> int:
    """The index of the candidate with the largest gain, the first of equal ones.

    Seeds that no run has yet are interchangeable: the first of them is considered for each cell.
    """
    used = {seed for design in designs.values() for seed in design.seeds}
    seen: set[tuple[tuple[str, str], ...]] = set()
    considered: list[int] = []
    for number, candidate in enumerate(candidates):
        if candidate.seed in used or candidate.places not in seen:
            considered.append(number)
        if candidate.seed not in used:
            seen.add(candidate.places)
    own: dict[str, list[tuple[int, str, int]]] = {group: [] for group in designs}
    for position, number in enumerate(considered):
        for group, cell in candidates[number].places:
            own[group].append((position, cell, candidates[number].seed))
    gains = np.zeros(len(considered))
    for group, runs in own.items():
        if runs:
            found = designs[group].gains([(cell, seed) for _, cell, seed in runs])
            np.add.at(gains, [position for position, *_ in runs], found)
    highest = float(gains.max())
    return considered[int(np.argmax(gains >= highest - _TIE * abs(highest)))]


def add(designs: Mapping[str, GroupDesign], candidate: Candidate) -> None:
    """Add a run to the design of each of its groups."""
    for group, cell in candidate.places:
        designs[group].add(cell, candidate.seed)


def _quantile(df: Indices) -> Array:
    return _QUANTILES[np.minimum(df, _MOST_DEGREES)]
