"""`quatrain report`: the tables of a study and the page with its plots."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from quatrain.cli.output import open_console, print_json, print_line, print_table, width_of
from quatrain.results import ResultStore
from quatrain.specs import StudyError

if TYPE_CHECKING:
    from quatrain.report.build import Report
    from quatrain.report.column import Column


def report(
    folder: Annotated[Path, typer.Argument(help="The folder of results.", metavar="DIR")],
    as_markdown: Annotated[bool, typer.Option("--markdown", help="Print Markdown.")] = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print CSV.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Report a study, finished or not: tables, differences and a page with figures.

    Writes HTML, Markdown, CSV and SVG to DIR/report. With a format option, prints that format.

    Example: quatrain report runs/numerals_terms --markdown
    """
    from quatrain.report.build import load_report
    from quatrain.report.write import write_report

    if as_markdown + as_csv + as_json > 1:
        raise StudyError("format", "several", "one of --markdown, --csv, --json", "use one")
    report = load_report(ResultStore(folder))
    if as_markdown or as_csv or as_json:
        _print_as(report, markdown=as_markdown, json=as_json)
        return
    page = write_report(report, folder / "report")
    console = open_console()
    print_report(console, report)
    print_line(console, f"Report: {page}")


def print_report(console: Console, report: "Report") -> None:
    """Print the table of cells, the matrix if there is one, the differences and the notes.

    If the table is too wide, its last metrics are only in the HTML page and the CSV file.
    """
    from quatrain.report.matrix import MATRIX_LEGEND, matrix_columns
    from quatrain.report.render import cell_columns, difference_columns, to_terminal

    table, differences = report.table, report.differences
    shown, left_out = fitting(cell_columns(table), table.metric_names[1:], console.width)
    print_table(console, to_terminal(shown, table.title))
    if left_out:
        print_line(
            console, f"{left_out} more metrics do not fit here; --csv and the page have them."
        )
    if report.matrix is not None:
        print_table(console, to_terminal(matrix_columns(report.matrix), MATRIX_LEGEND))
    if differences.rows:
        title = "Differences, paired by seed"
        print_table(console, to_terminal(difference_columns(differences), title))
    for note in table.notes:
        print_line(console, f"Note: {note}")


def fitting(
    columns: "Sequence[Column]", extra: Sequence[str], width: int
) -> "tuple[list[Column], int]":
    """The columns that fit, and the number of `extra` metrics, the last ones, that do not."""
    from quatrain.report.metric_names import title_of
    from quatrain.report.render import to_terminal

    optional = {title_of(name) for name in extra}
    beside = width_of(to_terminal(columns[:1], ""))
    free = width - width_of(to_terminal([c for c in columns if c.header not in optional], ""))
    headers = set[str]()
    for column in columns:
        if column.header not in optional:
            continue
        free -= width_of(to_terminal([columns[0], column], "")) - beside
        if free < 0:
            break
        headers.add(column.header)
    shown = [each for each in columns if each.header not in optional or each.header in headers]
    return shown, len(columns) - len(shown)


def _print_as(report: "Report", *, markdown: bool, json: bool) -> None:
    from quatrain.report import render

    if markdown:
        print(render.markdown_page(report), end="")
        return
    rows = render.rows_as_json(report.all_groups.table)
    if json:
        differences = render.differences_as_json(report.all_groups.differences)
        print_json({"cells": rows, "differences": differences})
    else:
        print(render.to_csv(rows), end="")
