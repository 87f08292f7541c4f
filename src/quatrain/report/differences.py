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
    adjusted_p: float | None
    """The p-value among all differences of the table, by Holm."""
    verdict: str
    published: float | None


@dataclass(frozen=True)
class DifferenceTable:
    """The comparisons the study asked for, in its primary metric or the one it names for them."""

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
    p_values = {number: s.p for number, s in enumerate(found) if s and s.p is not None}
    adjusted_p = dict(zip(p_values, holm(list(p_values.values())), strict=True))
    rows = [
        DifferenceRow(
            each.group,
            each.left,
            each.right,
            summary,
            adjusted_p.get(number),
            _verdict(each, summary, adjusted_p.get(number)),
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
    comparison: ManifestComparison, summary: Summary | None, adjusted_p: float | None
) -> str:
    if summary is None:
        return "no common seed"
    if adjusted_p is None:
        return "inconclusive (one seed)"
    if summary.zero_variance:
        return "inconclusive (equal differences)"
    if not summary.significant:
        return "inconclusive"
    higher = comparison.left if summary.mean > 0 else comparison.right
    return f"{higher} is higher" + ("" if adjusted_p <= 1 - CONFIDENCE else ", unadjusted")
