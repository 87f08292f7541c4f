"""Test-set noise: intervals of differences over the choice of test examples, by paired bootstrap.

    scores = resampled_scores({"a": score_a, "b": score_b}, examples=500)
    interval(scores, {"a": 1.0, "b": -1.0})

A corpus score such as BLEU, mean IoU or AP is not a mean over examples. Each resample draws as many
examples as the test set has, with replacement, the same ones for all runs, and the score of the
drawn ones is computed as that of a test set. The interval covers other test sets of the same kind;
it does not cover other seeds.

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

_LARGEST = 2**22
"""Numbers in the largest array of draws."""


@dataclass(frozen=True)
class Interval:
    """The bounds of a 95 % interval."""

    low: float
    high: float


Score = Callable[[Array], Array]
"""From how often resamples have each example, (resamples, examples), to scores, (resamples,)."""


def resampled_scores(
    scores: Mapping[str, Score], examples: int, resamples: int = RESAMPLES
) -> dict[str, Array]:
    """The score of each run on each resample of the test set.

    Args:
        scores: by run, a function that computes the scores of several resamples at once.
        examples: the size of the test set.
        resamples: how often the examples are drawn.

    Returns:
        By run, an array of shape (resamples,).

    Raises:
        InputError: if there are no examples.
    """
    if examples < 1:
        raise InputError(f"examples={examples}; give at least one", "examples")
    generator = np.random.default_rng(SEED)
    found = {name: np.empty(resamples) for name in scores}
    rows = max(1, _LARGEST // examples)
    for start in range(0, resamples, rows):
        count = min(rows, resamples - start)
        times = np.stack([_times(generator, examples) for _ in range(count)])
        for name, score in scores.items():
            found[name][start : start + count] = score(times)
    return found


def _times(generator: np.random.Generator, examples: int) -> Array:
    """How often each example is drawn, (examples,)."""
    drawn = generator.choice(examples, size=examples, replace=True)
    return np.bincount(drawn, minlength=examples).astype(np.float64)


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
