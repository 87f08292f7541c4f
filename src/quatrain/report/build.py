"""The contents of a report, read and computed once for all of its formats."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from quatrain.report.curves import Curve, learning_curves
from quatrain.report.differences import DifferenceTable, build_differences
from quatrain.report.effects import GridEffects, build_effects
from quatrain.report.findings import FindingResult, find_findings
from quatrain.report.groups import Groups
from quatrain.report.resampling.resample import resample
from quatrain.report.runs import StudyRuns, drop_unstarted_groups, load_runs
from quatrain.report.sentences import MARKS, Sentence, difference_sentence, finding_sentences
from quatrain.report.tables import Matrix, ReportTable, build_matrix, build_table
from quatrain.report.text import visible
from quatrain.results import ResultStore
from quatrain.results.diagnostics import Diagnostics, diagnose


@dataclass(frozen=True, repr=False)
class Report:
    """The runs of a study, and the tables and curves, computed when they are first used.

    Their use raises StudyError if a record lacks the compared metric, and StoredFileError if a log
    is damaged.
    """

    study: StudyRuns
    """Without groups that were not started."""
    full_study: StudyRuns
    data: Path | None = None
    """The folder of parallel text that the runs read, for intervals over test sentences."""

    def __repr__(self) -> str:
        """The title, the number of finished runs, and what was found, one line each."""
        found = [f"{MARKS[s.mark]} {s.group}: {s.text}" for s in self.sentences]
        done = f"{len(self.study.all_records())} of {len(self.study.runs)} runs"
        return "\n".join([f"{visible(self.study.manifest.title)}: {done}", *map(visible, found)])

    @cached_property
    def table(self) -> ReportTable:
        """Metrics and cost of each cell, and the notes."""
        return build_table(self.study, self.groups)

    @cached_property
    def differences(self) -> DifferenceTable:
        """The comparisons of the study."""
        manifest = self.study.manifest
        metric = manifest.compared_in or manifest.metric
        resampled = resample(self.study.compared_runs(), metric, self.data)
        return build_differences(self.study, self.groups, resampled)

    @cached_property
    def effects(self) -> list[GridEffects]:
        """The effects of the four terms, in the metric of the comparisons."""
        return build_effects(self.groups, self.differences.metric)

    @cached_property
    def findings(self) -> list[FindingResult]:
        """The paper's findings for which finished runs have results."""
        return find_findings(self.study, self.groups)

    @cached_property
    def sentences(self) -> list[Sentence]:
        """What was found: the comparisons of the study, then the paper's findings."""
        table = self.differences
        return [
            *(difference_sentence(row, table) for row in table.rows),
            *(said for result in self.findings for said in finding_sentences(result)),
        ]

    @cached_property
    def diagnostics(self) -> dict[str, Diagnostics]:
        """Whether the assumptions of the fits hold, by group, in the metric of the comparisons."""
        fits = {name: self.groups.fit(name, self.differences.metric) for name in self.groups.names}
        return {name: diagnose(fitted) for name, fitted in fits.items() if fitted is not None}

    @cached_property
    def groups(self) -> Groups:
        """The fits of cells and seeds."""
        return Groups(self.study)

    @cached_property
    def matrix(self) -> Matrix | None:
        """The table by cell and group, if all groups have the same cells."""
        return build_matrix(self.table)

    @cached_property
    def curves(self) -> list[Curve]:
        """The learning curves."""
        return learning_curves(self.study)

    @cached_property
    def all_groups(self) -> "Report":
        """The report with groups that were not started, as CSV and JSON have it."""
        return (
            self
            if self.study is self.full_study
            else Report(self.full_study, self.full_study, self.data)
        )


def load_report(store: ResultStore, data: Path | None = None) -> Report:
    """Read and check the runs of the study in `store`; `data` as in `Report`."""
    study = load_runs(store)
    return Report(drop_unstarted_groups(study), study, data)
