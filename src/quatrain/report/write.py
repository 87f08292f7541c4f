"""Write a study's report: four files, five if its cells form a matrix, each replaced whole."""

from dataclasses import dataclass
from pathlib import Path

from quatrain.report.curves import learning_curves
from quatrain.report.differences import build_differences
from quatrain.report.html import html_page
from quatrain.report.matrix import build_matrix
from quatrain.report.plot import accuracy_cost_svg, matrix_svg
from quatrain.report.render import markdown_page, rows_as_json, to_csv
from quatrain.report.runs import drop_unstarted_groups, load_runs
from quatrain.report.tables import build_table
from quatrain.results import ResultStore, write_atomically


@dataclass(frozen=True)
class ReportFiles:
    """Where the report lies."""

    html: Path
    markdown: Path
    csv: Path
    svg: Path
    matrix: Path | None
    """Only where the groups of the study have the same cells."""


def write_report(store: ResultStore, folder: Path) -> ReportFiles:
    """Report the study in `store`, finished or not, into `folder`.

    Raises:
        StudyError: if there is no study, its runs cannot be compared, or `folder` refuses.
        StoredFileError: if a stored file is damaged; nothing is written then.
    """
    every_group = load_runs(store)
    study = drop_unstarted_groups(every_group)
    table, differences = build_table(study), build_differences(study)
    curves = learning_curves(study)
    matrix = build_matrix(table)
    files = ReportFiles(
        html=folder / "report.html",
        markdown=folder / "report.md",
        csv=folder / "report.csv",
        svg=folder / "accuracy_cost.svg",
        matrix=None if matrix is None else folder / "matrix.svg",
    )
    contents = {
        files.html: html_page(study, table, differences, curves),
        files.markdown: markdown_page(table, differences, curves),
        files.csv: to_csv(rows_as_json(build_table(every_group))),
        files.svg: accuracy_cost_svg(table),
    }
    if matrix is not None and files.matrix is not None:
        contents[files.matrix] = matrix_svg(matrix)
    for path, text in contents.items():
        write_atomically(path, text)
    return files
