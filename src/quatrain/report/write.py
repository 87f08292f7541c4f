"""Write the files of a report, each replaced atomically."""

from pathlib import Path

from quatrain.report.build import Report
from quatrain.report.document import (
    differences_as_json,
    effects_as_json,
    report_document,
    rows_as_json,
    to_json,
)
from quatrain.report.html import html_page
from quatrain.report.latex import latex_document
from quatrain.report.markdown import markdown_page
from quatrain.report.methods import methods_of, references_of
from quatrain.report.page.scatter import Scatter
from quatrain.report.plot import accuracy_cost_svg, matrix_svg
from quatrain.report.references import bibliography
from quatrain.report.render import to_csv
from quatrain.results import write_atomically


def write_report(report: Report, folder: Path) -> Path:
    """Write the files of a report; return the path of report.html.

    The others are report.md, report.tex, report.json, report.csv (cells) and accuracy_cost.svg;
    and, if they have content, differences.csv, effects.csv, references.bib and matrix.svg. After an
    error in the records or logs nothing is written.
    """
    scatter = Scatter(report)
    figures = {"accuracy_cost.svg": accuracy_cost_svg(scatter)}
    if report.matrix is not None:
        figures["matrix.svg"] = matrix_svg(report.matrix)
    files = {
        "report.html": html_page(report, scatter),
        "report.md": markdown_page(report),
        "report.tex": latex_document(report),
        "report.json": to_json(report_document(report)),
        **_tables(report),
        "references.bib": bibliography(references_of(methods_of(report))),
        "matrix.svg": "",
        **figures,
    }
    for name, text in files.items():
        if text:
            write_atomically(folder / name, text)
        else:
            (folder / name).unlink(missing_ok=True)
    return folder / "report.html"


def _tables(report: Report) -> dict[str, str]:
    """The CSV files of cells, differences and effects."""
    full = report.all_groups
    metric = full.differences.metric
    effects = [row for grid in full.effects for row in effects_as_json(grid, metric)]
    return {
        "report.csv": to_csv(rows_as_json(full.table)),
        "differences.csv": to_csv(differences_as_json(full.differences)),
        "effects.csv": to_csv(effects),
    }
