"""`quatrain report`: the tables of a study and the page with its plots."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from quatrain.cli.output import open_console, print_json, print_line, print_table, width_of
from quatrain.report.build import Report, load_report
from quatrain.report.columns import (
    MATRIX_LEGEND,
    Column,
    cell_columns,
    difference_columns,
    matrix_columns,
)
from quatrain.report.render import (
    differences_as_json,
    markdown_page,
    rows_as_json,
    to_csv,
    to_terminal,
)
from quatrain.report.sentences import MARKS
from quatrain.report.text import title_of
from quatrain.results import ResultStore
from quatrain.specs import StudyError


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
    if as_markdown + as_csv + as_json > 1:
        raise StudyError("several formats; use one of --markdown, --csv, --json", "format")
    report = load_report(ResultStore(folder))
    if as_markdown:
        print(markdown_page(report), end="")
    elif as_csv:
        print(to_csv(rows_as_json(report.all_groups.table)), end="")
    elif as_json:
        cells = rows_as_json(report.all_groups.table)
        differences = differences_as_json(report.all_groups.differences)
        print_json({"cells": cells, "differences": differences})
    else:
        from quatrain.report.write import write_report

        page = write_report(report, folder / "report")
        console = open_console()
        print_report(console, report)
        print_line(console, f"Report: {page}")


def print_report(console: Console, report: Report) -> None:
    """Print the table of cells, the matrix if there is one, the differences and the notes.

    If the table is too wide, its last metrics are only in the HTML page and the CSV file.
    """
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
        title = "Differences"
        print_table(console, to_terminal(difference_columns(differences), title))
    for sentence in report.sentences:
        if sentence.word != "not run":
            mark = MARKS[sentence.mark]
            print_line(console, f"{mark} {sentence.group}: {sentence.text}")
    for note in table.notes:
        print_line(console, f"Note: {note}")


def fitting(
    columns: Sequence[Column], extra: Sequence[str], width: int
) -> tuple[list[Column], int]:
    """The columns that fit, and the number of `extra` metrics, the last ones, that do not."""
    optional = {title_of(name) for name in extra}
    required = [column for column in columns if column.header not in optional]
    headers = {column.header for column in required}
    first = width_of(to_terminal(columns[:1], ""))
    free = width - width_of(to_terminal(required, ""))
    for column in columns:
        if column.header in optional:
            free -= width_of(to_terminal([columns[0], column], "")) - first
            if free < 0:
                break
            headers.add(column.header)
    shown = [column for column in columns if column.header in headers]
    return shown, len(columns) - len(shown)
