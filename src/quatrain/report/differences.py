"""The comparisons of a study: differences paired by seed, with adjusted p-values."""

from dataclasses import dataclass

from quatrain.report.runs import StudyRuns, metric_of
from quatrain.results import Comparison, Summary, holm, paired_difference
from quatrain.results.statistics import CONFIDENCE


@dataclass(frozen=True)
class DifferenceRow:
    """`left` minus `right`, paired by seed; no summary if they share no finished seed."""

    group: str
    left: str
    right: str
    summary: Summary | None
    adjusted_p: float | None
    """The p-value adjusted for all differences of the table (Holm)."""
    verdict: str
    published: float | None


@dataclass(frozen=True)
class DifferenceTable:
    """The comparisons, in the primary metric or in the study's `compared_in`."""

    metric: str
    rows: tuple[DifferenceRow, ...]

    @property
    def has_published(self) -> bool:
        """Whether the study quotes a published difference."""
        return any(row.published is not None for row in self.rows)


def build_differences(study: StudyRuns) -> DifferenceTable:
    """The table of differences; StudyError if a record lacks the metric."""
    manifest = study.manifest
    metric = manifest.compared_in or manifest.metric
    summaries = [_difference(study, pair, metric) for pair in manifest.comparisons]
    p_values = {number: s.p for number, s in enumerate(summaries) if s and s.p is not None}
    adjusted = dict(zip(p_values, holm(list(p_values.values())), strict=True))
    rows: list[DifferenceRow] = []
    for number, (pair, summary) in enumerate(zip(manifest.comparisons, summaries, strict=True)):
        p, names = adjusted.get(number), (pair.group, pair.left, pair.right)
        verdict = _verdict(pair, summary, p)
        rows.append(DifferenceRow(*names, summary, p, verdict, pair.published))
    return DifferenceTable(metric, tuple(rows))


def _difference(study: StudyRuns, comparison: Comparison, metric: str) -> Summary | None:
    left, right = (
        {seed: metric_of(record, metric) for seed, record in side.items()}
        for side in study.paired_records(comparison)
    )
    return paired_difference(left, right) if left else None


def _verdict(comparison: Comparison, summary: Summary | None, adjusted_p: float | None) -> str:
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
