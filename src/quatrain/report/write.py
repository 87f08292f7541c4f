"""Write a study's report: four files, each replaced whole."""

from dataclasses import dataclass
from pathlib import Path

from quatrain.report.html import html_page
from quatrain.report.plot import accuracy_cost_svg
from quatrain.report.render import markdown_page, rows_as_json, to_csv
from quatrain.report.runs import load_runs
from quatrain.report.tables import build_differences, build_table
from quatrain.results import ResultStore, write_atomically


@dataclass(frozen=True)
class ReportFiles:
    """Where the report lies."""

    html: Path
    markdown: Path
    csv: Path
    svg: Path


def write_report(store: ResultStore, folder: Path) -> ReportFiles:
    """Report the study in `store`, finished or not, into `folder`.

    Raises:
        StudyError: if there is no study, its runs cannot be compared, or `folder` refuses.
        StoredFileError: if a stored file is damaged; nothing is written then.
    """
    study = load_runs(store)
    table, differences = build_table(study), build_differences(study)
    files = ReportFiles(
        html=folder / "report.html",
        markdown=folder / "report.md",
        csv=folder / "report.csv",
        svg=folder / "accuracy_cost.svg",
    )
    contents = {
        files.html: html_page(study, table, differences),
        files.markdown: markdown_page(table, differences),
        files.csv: to_csv(rows_as_json(table)),
        files.svg: accuracy_cost_svg(table),
    }
    for path, text in contents.items():
        write_atomically(path, text)
    return files
