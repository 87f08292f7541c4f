"""`quatrain cost`: what attention costs, as published and as we count it."""

import dataclasses
import enum
import json
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from quatrain.paper.translation import CostRow

app = typer.Typer(no_args_is_help=True, help="Count multiply-adds.")


class PaperTask(enum.StrEnum):
    """Tasks whose published costs we reproduce."""

    translation = enum.auto()


@app.callback()
def cost() -> None:
    """Count multiply-adds."""


@app.command()
def paper(
    task: Annotated[PaperTask, typer.Option(help="The task of the paper.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print rows as JSON.")] = False,
) -> None:
    """Compare the paper's published costs with ours, for every configuration of a task.

    "computed" counts our modules in the paper's convention, "executed" counts what our methods
    really do; both leave out embeddings and the projection to the vocabulary.

    Example: quatrain cost paper --task translation --json
    """
    from rich.console import Console

    from quatrain.paper.translation import cost_rows

    with Console(stderr=True).status("Building and counting every configuration"):
        rows = {PaperTask.translation: cost_rows}[task]()
    if as_json:
        print(json.dumps([dataclasses.asdict(row) for row in rows], indent=2))
    else:
        _print_table(rows)


def _print_table(rows: "list[CostRow]") -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(title="G multiply-adds of the whole network")
    for name in ("table", "config"):
        table.add_column(name)
    for name in ("published", "computed", "executed"):
        table.add_column(name, justify="right")
    noted: dict[str, int] = {}
    for row in rows:
        number = noted.setdefault(row.note, len(noted) + 1) if row.note else None
        config = row.config if number is None else f"{row.config} ({number})"
        costs = (row.published, row.computed, row.executed)
        table.add_row(row.table, config, *(f"{value:.3f}" for value in costs))
    console = Console()
    console.print(table)
    for note, number in noted.items():
        console.print(f"({number}) {note}", markup=False, highlight=False)
