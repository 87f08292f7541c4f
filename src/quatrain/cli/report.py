"""`quatrain report`: the tables of a study and the page with its plots."""

from collections.abc import Sequence
from dataclasses import replace
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
from quatrain.report.document import report_document, rows_as_json
from quatrain.report.markdown import markdown_page
from quatrain.report.render import to_csv, to_terminal
from quatrain.report.sentences import MARKS
from quatrain.report.text import title_of
from quatrain.results import ResultStore
from quatrain.specs import StudyError

MOST_ROWS = 100
"""Rows of a table that are printed."""
NO_TEST_NOISE = (
    "Note: no intervals over test sentences; they need differences in BLEU between runs that have "
    "hypotheses.txt."
)


def report(
    folder: Annotated[Path, typer.Argument(help="The folder of results.", metavar="DIR")],
    data: Annotated[
        Path | None,
        typer.Option(
            help="The folder of parallel text that the study read: adds intervals over its test "
            "sentences to differences in BLEU."
        ),
    ] = None,
    as_markdown: Annotated[bool, typer.Option("--markdown", help="Print Markdown.")] = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print CSV.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Report a study, finished or not: what it found, tables, differences and a page with figures.

    Writes HTML, Markdown, LaTeX, BibTeX, CSV, JSON and SVG to DIR/report. With a format option,
    prints that format: --csv the cells, --json all tables, effects, findings and notes.

    Example: quatrain report runs/numerals_terms --markdown
    """
    if as_markdown + as_csv + as_json > 1:
        raise StudyError("several formats; use one of --markdown, --csv, --json", "format")
    if data is not None and not data.is_dir():
        raise StudyError(f"--data {str(data)!r} is not a folder; correct its path", "data")
    report = load_report(ResultStore(folder), data)
    if data is not None and not report.differences.has_test_noise:
        print_line(Console(stderr=True), NO_TEST_NOISE)
    if as_markdown:
        print(markdown_page(report), end="")
    elif as_csv:
        print(to_csv(rows_as_json(report.all_groups.table)), end="")
    elif as_json:
        print_json(report_document(report))
    else:
        from quatrain.report.write import write_report

        page = write_report(report, folder / "report")
        console = open_console()
        print_report(console, report)
        print_line(console, f"Report: {page}")


def print_report(console: Console, report: Report) -> None:
    """Print the table of cells, the matrix if there is one, the differences and the notes.

    If the table is too wide, its last metrics are only in the HTML page and the CSV file; so are
    the rows after the first `MOST_ROWS`.
    """
    table, differences = report.table, report.differences
    columns = first_rows(cell_columns(table))
    shown, left_out = fitting(columns, table.metric_names[1:], console.width)
    print_table(console, to_terminal(shown, table.title))
    print_rest(console, len(table.rows))
    if left_out:
        print_line(
            console, f"{left_out} more metrics do not fit here; --csv and the page have them."
        )
    if report.matrix is not None:
        print_table(console, to_terminal(matrix_columns(report.matrix), MATRIX_LEGEND))
    if differences.rows:
        title = "Differences"
        columns = first_rows(difference_columns(differences))
        print_table(console, to_terminal(columns, title))
        print_rest(console, len(differences.rows))
    sentences = [sentence for sentence in report.sentences if sentence.word != "not run"]
    for sentence in sentences[:MOST_ROWS]:
        print_line(console, f"{MARKS[sentence.mark]} {sentence.group}: {sentence.text}")
    for note in table.notes:
        print_line(console, f"Note: {note.text}")


def first_rows(columns: Sequence[Column]) -> list[Column]:
    """The columns with the rows that are printed."""
    return [
        replace(column, texts=column.texts[:MOST_ROWS], values=column.values[:MOST_ROWS])
        for column in columns
    ]


def print_rest(console: Console, rows: int) -> None:
    """Print how many rows of a table are not printed."""
    if rows > MOST_ROWS:
        print_line(console, f"{rows - MOST_ROWS:,} more rows are in the page.")


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
