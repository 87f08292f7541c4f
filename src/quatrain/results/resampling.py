"""Test-set noise: intervals of differences over the choice of test examples, by paired bootstrap.

    scores = resampled_scores({"a": statistics_a, "b": statistics_b}, score)
    interval({name: scores[name] for name in scores}, {"a": 1.0, "b": -1.0})

A corpus score such as BLEU is a function of sums of statistics over examples. Each resample draws
as many examples as the test set has, with replacement, the same ones for all runs, and sums their
statistics. The interval covers other test sets of the same kind; it does not cover other seeds.

Source: Koehn 2004, Statistical significance tests for machine translation evaluation,
    https://aclanthology.org/W04-3250. Resamples, their number and their seed are those of
    sacreBLEU's paired bootstrap, https://github.com/mjpost/sacrebleu.
Differs: sacreBLEU reports the intervals of the two scores; this is the percentile interval of a
    weighted sum of scores, such as the difference of two means over seeds.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from quatrain.results.statistics import CONFIDENCE
from quatrain.specs import InputError

Array = NDArray[np.float64]

RESAMPLES = 1000
SEED = 12345
"""The seed of sacreBLEU's significance tests."""


@dataclass(frozen=True)
class Interval:
    """The bounds of a 95 % interval."""

    low: float
    high: float


def resampled_scores(
    statistics: Mapping[str, Array], score: Callable[[Array], float], resamples: int = RESAMPLES
) -> dict[str, Array]:
    """The score of each run on each resample of the test set.

    Args:
        statistics: by run, an array of shape (examples, k).
        score: the score of a vector of k sums.
        resamples: how often the examples are drawn.

    Returns:
        By run, an array of shape (resamples,).

    Raises:
        InputError: if the runs differ in their number of examples, or have none.
    """
    sizes = {len(own) for own in statistics.values()}
    if len(sizes) != 1 or 0 in sizes:
        found = ", ".join(map(str, sorted(sizes))) or "none"
        raise InputError(
            f"statistics have {found} examples; give each run the same, at least one", "statistics"
        )
    (examples,) = sizes
    names = list(statistics)
    stacked = np.concatenate([statistics[name] for name in names], axis=1, dtype=np.float64)
    bounds = np.cumsum([statistics[name].shape[1] for name in names])[:-1]
    scores = np.empty((len(names), resamples))
    generator = np.random.default_rng(SEED)
    for number in range(resamples):
        drawn = generator.choice(examples, size=examples, replace=True)
        times = np.bincount(drawn, minlength=examples).astype(np.float64)
        sums = np.split(times @ stacked, bounds)
        scores[:, number] = [score(own) for own in sums]
    return dict(zip(names, scores, strict=True))


def interval(scores: Mapping[str, Array], weights: Mapping[str, float]) -> Interval:
    """The percentile interval of the weighted sum of the resampled scores of runs.

    Args:
        scores: by run, an array of shape (resamples,).
        weights: by run; for a difference of means over seeds they sum to zero.
    """
    draws = sum(weight * scores[name] for name, weight in weights.items())
    tail = 50 * (1 - CONFIDENCE)
    low, high = np.percentile(np.asarray(draws), [tail, 100 - tail]).tolist()
    return Interval(low, high)
