"""The comparisons of a study: differences of cell means by one fit for each group, with verdicts.

All comparisons of a study are one family of tests.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

from quatrain.report.groups import COSTS, Groups
from quatrain.report.levels import Levels, Progress
from quatrain.report.resampling.resample import Resampled
from quatrain.report.runs import StudyRuns
from quatrain.report.text import places_of
from quatrain.results import Comparison
from quatrain.results.answers import Answer, answer
from quatrain.results.fit import Estimate, Fit, Variance, fit
from quatrain.results.resampling import Array, Interval, interval

Outcome = Literal["higher", "lower", "equivalent", "inconclusive", "one seed", "not run"]


@dataclass(frozen=True)
class DifferenceRow:
    """A comparison, `left` minus `right`, and its answer; None before both cells have a run."""

    comparison: Comparison
    answer: Answer | None
    seeds: int
    """The number of seeds that both cells have."""
    price: Mapping[str, float]
    """The difference in each of `COSTS` that both cells have."""
    level: float
    """The level of its tests: lower while its planned seeds have not all finished."""
    progress: Progress
    welch: Estimate | None = None
    """The difference by these two cells alone, each with a variance of its own."""
    over_test_examples: Interval | None = None
    """The interval over the choice of test examples, where these are available."""

    @property
    def name(self) -> str:
        """The two cells."""
        return f"{self.comparison.left} − {self.comparison.right}"

    @property
    def outcome(self) -> Outcome:
        """The verdict, or why there is none."""
        if self.answer is None:
            return "not run"
        return "one seed" if self.answer.estimate.p is None else self.answer.verdict

    @property
    def as_expected(self) -> bool | None:
        """Whether the verdict is the predicted one; None without a prediction or a verdict."""
        if self.comparison.expect is None or self.outcome in {
            "inconclusive",
            "one seed",
            "not run",
        }:
            return None
        return self.outcome == self.comparison.expect


@dataclass(frozen=True)
class DifferenceTable:
    """The comparisons, in the primary metric or in the study's `compared_in`."""

    metric: str
    margin: float | None
    level: float
    """The level of comparisons whose planned seeds have finished: 5 %, or lower if seeds were added
    after a look."""
    variance: Variance
    rows: tuple[DifferenceRow, ...]
    examples: str = "examples"
    """The kind of test examples, in the plural: sentences or images."""

    @cached_property
    def places(self) -> int:
        """The decimal places of the differences."""
        estimates = [row.answer.estimate for row in self.rows if row.answer]
        return places_of(x for e in estimates for x in (e.value, e.low or 0.0, e.high or 0.0))

    @property
    def has_published(self) -> bool:
        """Whether the study quotes a published difference."""
        return any(row.comparison.published is not None for row in self.rows)

    @property
    def has_test_noise(self) -> bool:
        """Whether a difference has an interval over the choice of test examples."""
        return any(row.over_test_examples is not None for row in self.rows)


def build_differences(
    study: StudyRuns, groups: Groups, resampled: Resampled | None = None
) -> DifferenceTable:
    """The table of differences.

    Args:
        study: the runs.
        groups: their fits.
        resampled: the metric of runs on resamples of the test set.

    Raises:
        StudyError: if a record lacks the metric.
    """
    resampled = resampled or Resampled()
    manifest = study.manifest
    metric = manifest.compared_in or manifest.metric
    levels = Levels(study)
    sides = [(pair.group, (pair.left, pair.right)) for pair in manifest.comparisons]
    own = [levels.of(*side) for side in sides]
    family: dict[int, tuple[Fit, dict[str, float]]] = {}
    for number, each in enumerate(manifest.comparisons):
        fitted = groups.fit(each.group, metric)
        weights = {each.left: 1.0, each.right: -1.0}
        if fitted is not None and fitted.can_estimate(weights):
            family[number] = fitted, weights
    interim = [own[number] for number in family]
    found = answer([*family.values()], manifest.margin, levels.complete, interim)
    answers = dict(zip(family, found, strict=True))
    rows = tuple(
        DifferenceRow(
            each,
            answers.get(number),
            _common_seeds(groups.fit(each.group, metric), each),
            _price(groups, each),
            own[number],
            levels.progress(*sides[number]),
            _welch(family[number]) if number in family else None,
            _over_test_examples(study, each, resampled.scores),
        )
        for number, each in enumerate(manifest.comparisons)
    )
    return DifferenceTable(
        metric, manifest.margin, levels.complete, manifest.variance, rows, resampled.examples
    )


def _over_test_examples(
    study: StudyRuns, comparison: Comparison, resampled: Mapping[str, Array]
) -> Interval | None:
    """The interval of the difference of the means over the common seeds."""
    sides = study.paired_records(comparison)
    weights: dict[str, float] = {}
    for sign, records in zip((1.0, -1.0), sides, strict=True):
        for record in records.values():
            weights[record.identity] = sign / len(records)
    if not weights or not weights.keys() <= resampled.keys():
        return None
    return interval(resampled, weights)


def _common_seeds(fitted: Fit | None, comparison: Comparison) -> int:
    if fitted is None:
        return 0
    sides = (fitted.values.get(name, {}) for name in (comparison.left, comparison.right))
    left, right = (set(side) for side in sides)
    return len(left & right)


def _welch(contrast: tuple[Fit, Mapping[str, float]]) -> Estimate:
    fitted, weights = contrast
    return fit({cell: fitted.values[cell] for cell in weights}, "separate").contrast(weights)


def _price(groups: Groups, comparison: Comparison) -> dict[str, float]:
    prices: dict[str, float] = {}
    for name in COSTS:
        costs = groups.costs(comparison.group, name)
        if comparison.left in costs and comparison.right in costs:
            prices[name] = costs[comparison.left] - costs[comparison.right]
    return prices
