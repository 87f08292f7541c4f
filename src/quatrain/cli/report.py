"""`quatrain report`: the tables of a study and the page with its plots."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from quatrain.cli.output import open_console, print_json, print_whole, width_of
from quatrain.results import ResultStore
from quatrain.specs import StudyError


def report(
    folder: Annotated[Path, typer.Argument(help="The folder of results.", metavar="DIR")],
    as_markdown: Annotated[bool, typer.Option("--markdown", help="Print Markdown.")] = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print CSV.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Report a study, finished or not: a table, the differences, and a page with plots.

    Writes HTML, Markdown, CSV and SVG to DIR/report; with a format, prints that instead.

    Example: quatrain report runs/numerals_terms --markdown
    """
    from quatrain.report.write import write_report

    if as_markdown + as_csv + as_json > 1:
        raise StudyError("format", "several", "one of --markdown, --csv, --json", "name one")
    store = ResultStore(folder)
    if as_markdown or as_csv or as_json:
        _print_as(store, markdown=as_markdown, json=as_json)
        return
    files = write_report(store, folder / "report")
    console = open_console()
    print_report(console, store)
    console.print(f"Report: {files.html}", markup=False, highlight=False, soft_wrap=True)


def print_report(console: Console, store: ResultStore) -> None:
    """The table of cells, their matrix if they form one, the differences and the notes.

    Where the table is too wide, the metrics beside the headline one are left to the page.
    """
    from quatrain.report.differences import build_differences
    from quatrain.report.matrix import MATRIX_LEGEND, build_matrix, matrix_columns
    from quatrain.report.names import title_of
    from quatrain.report.render import columns, difference_columns, to_terminal
    from quatrain.report.runs import load_runs
    from quatrain.report.tables import build_table

    study = load_runs(store)
    table, differences = build_table(study), build_differences(study)
    shown = columns(table)
    extra = [title_of(name) for name in table.metric_names[1:]]
    while extra and width_of(to_terminal(shown, "")) > console.width:
        dropped = extra.pop()
        shown = [column for column in shown if column.header != dropped]
    print_whole(console, to_terminal(shown, table.title))
    matrix = build_matrix(table)
    if matrix is not None:
        print_whole(console, to_terminal(matrix_columns(matrix), MATRIX_LEGEND))
    if differences.rows:
        title = "Differences, paired by seed"
        print_whole(console, to_terminal(difference_columns(differences), title))
    for note in table.notes:
        console.print(f"Note: {note}", markup=False, highlight=False)


def _print_as(store: ResultStore, *, markdown: bool, json: bool) -> None:
    from quatrain.report import render
    from quatrain.report.curves import learning_curves
    from quatrain.report.differences import build_differences
    from quatrain.report.runs import load_runs
    from quatrain.report.tables import build_table

    study = load_runs(store)
    table, differences = build_table(study), build_differences(study)
    if markdown:
        print(render.markdown_page(table, differences, learning_curves(study)), end="")
    elif json:
        rows = render.rows_as_json(table)
        print_json({"cells": rows, "differences": render.differences_as_json(differences)})
    else:
        print(render.to_csv(render.rows_as_json(table)), end="")
