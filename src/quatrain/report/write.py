"""Write the files of a report, each replaced atomically."""

from pathlib import Path

from quatrain.report.build import Report
from quatrain.report.html import html_page
from quatrain.report.page.scatter import Scatter
from quatrain.report.plot import accuracy_cost_svg, matrix_svg
from quatrain.report.render import markdown_page, rows_as_json, to_csv
from quatrain.results import write_atomically


def write_report(report: Report, folder: Path) -> Path:
    """Write report.html, report.md, report.csv and the figures; return the path of the page.

    The figures are accuracy_cost.svg and, if all groups have the same cells, matrix.svg. After an
    error in the records or logs nothing is written.
    """
    scatter = Scatter(report)
    figures = {"accuracy_cost.svg": accuracy_cost_svg(scatter)}
    if report.matrix is not None:
        figures["matrix.svg"] = matrix_svg(report.matrix)
    files = {
        "report.html": html_page(report, scatter),
        "report.md": markdown_page(report),
        "report.csv": to_csv(rows_as_json(report.all_groups.table)),
        **figures,
    }
    for name, text in files.items():
        write_atomically(folder / name, text)
    return folder / "report.html"
