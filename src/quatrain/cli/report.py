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
    from quatrain.report.column import Column


def report(
    folder: Annotated[Path, typer.Argument(help="The folder of results.", metavar="DIR")],
    as_markdown: Annotated[bool, typer.Option("--markdown", help="Print Markdown.")] = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print CSV.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Report a study, finished or not: a table, the differences, and a page with plots.

    Writes HTML, Markdown, CSV and SVG to DIR/report. With a format option, prints that format.

    Example: quatrain report runs/numerals_terms --markdown
    """
    from quatrain.report.write import write_report

    if as_markdown + as_csv + as_json > 1:
        raise StudyError("format", "several", "one of --markdown, --csv, --json", "use one")
    store = ResultStore(folder)
    if as_markdown or as_csv or as_json:
        _print_as(store, markdown=as_markdown, json=as_json)
        return
    files = write_report(store, folder / "report")
    console = open_console()
    print_report(console, store)
    print_line(console, f"Report: {files.html}")


def print_report(console: Console, store: ResultStore) -> None:
    """Print the table of cells, their matrix if they form one, the differences and the notes.

    If the table is too wide, its last metrics are only in the HTML page and the CSV file.
    """
    from quatrain.report.differences import build_differences
    from quatrain.report.matrix import MATRIX_LEGEND, build_matrix, matrix_columns
    from quatrain.report.render import cell_columns, difference_columns, to_terminal
    from quatrain.report.runs import drop_unstarted_groups, load_runs
    from quatrain.report.tables import build_table

    study = drop_unstarted_groups(load_runs(store))
    table, differences = build_table(study), build_differences(study)
    shown, left_out = fitting(cell_columns(table), table.metric_names[1:], console.width)
    print_table(console, to_terminal(shown, table.title))
    if left_out:
        print_line(
            console, f"{left_out} more metrics do not fit here; --csv and the page have them."
        )
    matrix = build_matrix(table)
    if matrix is not None:
        print_table(console, to_terminal(matrix_columns(matrix), MATRIX_LEGEND))
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


def _print_as(store: ResultStore, *, markdown: bool, json: bool) -> None:
    from quatrain.report import render
    from quatrain.report.curves import learning_curves
    from quatrain.report.differences import build_differences
    from quatrain.report.runs import drop_unstarted_groups, load_runs
    from quatrain.report.tables import build_table

    study = load_runs(store)
    if markdown:
        study = drop_unstarted_groups(study)
    table, differences = build_table(study), build_differences(study)
    if markdown:
        print(render.markdown_page(table, differences, learning_curves(study)), end="")
    elif json:
        rows = render.rows_as_json(table)
        print_json({"cells": rows, "differences": render.differences_as_json(differences)})
    else:
        print(render.to_csv(render.rows_as_json(table)), end="")
