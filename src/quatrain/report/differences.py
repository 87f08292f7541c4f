"""The differences that a study asked for, paired by seed, and how sure each is among the others."""

from dataclasses import dataclass

from quatrain.report.runs import StudyRuns, metric_of
from quatrain.results import (
    ManifestComparison,
    Summary,
    holm,
    paired_difference,
)
from quatrain.results.statistics import CONFIDENCE


@dataclass(frozen=True)
class DifferenceRow:
    """`left` minus `right`, paired by seed; no summary where they share no finished seed."""

    group: str
    left: str
    right: str
    summary: Summary | None
    corrected: float | None
    """The p-value among all differences of the table, by Holm."""
    verdict: str
    published: float | None


@dataclass(frozen=True)
class DifferenceTable:
    """The comparisons the study asked for, in its headline metric or the one it names for them."""

    metric: str
    rows: tuple[DifferenceRow, ...]

    @property
    def has_published(self) -> bool:
        """Whether the study quotes what others found."""
        return any(row.published is not None for row in self.rows)


def build_differences(study: StudyRuns) -> DifferenceTable:
    """The table of differences.

    Raises:
        StudyError: if a record lacks their metric.
    """
    manifest = study.manifest
    metric = manifest.compared_in or manifest.metric
    found = [_difference(study, each, metric) for each in manifest.comparisons]
    chances = {number: s.p for number, s in enumerate(found) if s and s.p is not None}
    corrected = dict(zip(chances, holm(list(chances.values())), strict=True))
    rows = [
        DifferenceRow(
            each.group,
            each.left,
            each.right,
            summary,
            corrected.get(number),
            _verdict(each, summary, corrected.get(number)),
            each.published,
        )
        for number, (each, summary) in enumerate(zip(manifest.comparisons, found, strict=True))
    ]
    return DifferenceTable(metric, tuple(rows))


def _difference(study: StudyRuns, comparison: ManifestComparison, metric: str) -> Summary | None:
    left, right = (
        {seed: metric_of(record, metric) for seed, record in side.items()}
        for side in study.sides(comparison)
    )
    return paired_difference(left, right) if left else None


def _verdict(
    comparison: ManifestComparison, summary: Summary | None, corrected: float | None
) -> str:
    if summary is None:
        return "no seed finished in both"
    if corrected is None:
        return "undecided (one seed)"
    if summary.has_no_spread:
        return "undecided (equal differences)"
    if not summary.decided:
        return "undecided"
    higher = comparison.left if summary.mean > 0 else comparison.right
    return f"{higher} is higher" + ("" if corrected <= 1 - CONFIDENCE else ", uncorrected")
