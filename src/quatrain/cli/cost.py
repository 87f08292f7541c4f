"""`quatrain cost`: the cost of attention, published and counted."""

import dataclasses
import enum
import json
from collections.abc import Sequence
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

app: typer.Typer = typer.Typer(no_args_is_help=True, help="Count multiply-adds.")


class PaperTask(enum.StrEnum):
    """Tasks with published costs."""

    detection = enum.auto()
    segmentation = enum.auto()
    translation = enum.auto()


@app.callback()
def cost() -> None:
    """Count multiply-adds."""


@app.command()
def paper(
    task: Annotated[PaperTask, typer.Option(help="The task of the paper.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print rows as JSON.")] = False,
) -> None:
    """Compare published costs with counted ones, for every configuration of a task of the paper.

    "computed" counts quatrain's modules in the paper's convention, "executed" counts the
    multiply-adds that quatrain's methods execute. For translation both are of the whole network
    without embeddings and the projection to the vocabulary. For detection and segmentation
    "computed" is the published cost without attention plus the cost of quatrain's modules;
    "base_computed" is quatrain's network without attention, which differs from the paper's;
    "executed" is the sum of "base_computed" and "overhead_executed", the cost of the methods.

    Example: quatrain cost paper --task translation --json
    """
    with Console(stderr=True).status("Building and counting every configuration"):
        from quatrain.paper import translation, vision

        if task is PaperTask.translation:
            rows = translation.cost_rows()
        else:
            rows = vision.cost_rows("detection" if task is PaperTask.detection else "segmentation")
    if as_json:
        print(json.dumps([dataclasses.asdict(row) for row in rows], indent=2))
    else:
        _print_table(rows)


def _print_table(rows: Sequence[Any]) -> None:
    table = Table(title="G multiply-adds of the whole network")
    below = ("note", "base_computed")
    columns = {f.name: f.type for f in dataclasses.fields(rows[0]) if f.name not in below}
    for name, kind in columns.items():
        justify = "right" if kind in (float, "float") else "left"
        table.add_column(name.replace("_", " "), justify=justify, no_wrap=name == "config")
    notes: dict[str, int] = {}
    for row in rows:
        number = notes.setdefault(row.note, len(notes) + 1) if row.note else None
        config = row.config if number is None else f"{row.config} ({number})"
        fields = dataclasses.asdict(row) | {"config": config}
        cells = (fields[name] for name in columns)
        table.add_row(*(f"{cell:.3f}" if isinstance(cell, float) else cell for cell in cells))
    console = Console()
    console.print(table)
    bases = {getattr(row, "base_computed", None) for row in rows} - {None}
    for base in bases:  # one network for all rows
        console.print(f"base computed: {base:.3f}")
    for note, number in notes.items():
        console.print(f"({number}) {note}", markup=False, highlight=False)
