"""The contents of a report, read and computed once for all of its formats."""

from dataclasses import dataclass
from functools import cached_property

from quatrain.report.curves import Curve, learning_curves
from quatrain.report.differences import DifferenceTable, build_differences
from quatrain.report.matrix import Matrix, build_matrix
from quatrain.report.runs import StudyRuns, drop_unstarted_groups, load_runs
from quatrain.report.tables import ReportTable, build_table
from quatrain.results import ResultStore


@dataclass(frozen=True)
class Report:
    """The runs of a study, and what is computed from them when it is first used.

    Raises:
        StudyError: on use, if a record lacks the metric that is compared.
        StoredFileError: on use of `curves`, if a log is damaged.
    """

    study: StudyRuns
    """Without groups that were not started."""
    full_study: StudyRuns

    @cached_property
    def table(self) -> ReportTable:
        """Metrics and cost of each cell, and the notes."""
        return build_table(self.study)

    @cached_property
    def differences(self) -> DifferenceTable:
        """The comparisons of the study."""
        return build_differences(self.study)

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
        return self if self.study is self.full_study else Report(self.full_study, self.full_study)


def load_report(store: ResultStore) -> Report:
    """Read the runs of the study in `store`.

    Raises:
        StudyError: if there is no study, or its runs cannot be compared.
        StoredFileError: if a stored file is damaged.
    """
    study = load_runs(store)
    return Report(drop_unstarted_groups(study), study)
