"""`quatrain cost`: what attention costs, as published and as we count it."""

import dataclasses
import enum
import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from quatrain.paper.translation import CostRow
    from quatrain.paper.vision import VisionCost

app = typer.Typer(no_args_is_help=True, help="Count multiply-adds.")


class PaperTask(enum.StrEnum):
    """Tasks whose published costs we reproduce."""

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
    """Compare the paper's published costs with ours, for every configuration of a task.

    "computed" counts our modules in the paper's convention, "executed" what our methods really do.
    For translation both are the whole network without embeddings and the projection to the
    vocabulary. For detection and segmentation "computed" is the published cost without attention
    plus what our modules add; "base_computed" is our own network without attention, which is not
    the paper's, and "executed" is it and "overhead_executed", what our methods add.

    Example: quatrain cost paper --task translation --json
    """
    from rich.console import Console

    with Console(stderr=True).status("Building and counting every configuration"):
        rows = _rows(task)
    if as_json:
        print(json.dumps([dataclasses.asdict(row) for row in rows], indent=2))
    else:
        _print_table(rows)


def _rows(task: PaperTask) -> "Sequence[CostRow | VisionCost]":
    if task is PaperTask.translation:
        from quatrain.paper.translation import cost_rows

        return cost_rows()
    from quatrain.paper import vision

    return vision.cost_rows("detection" if task is PaperTask.detection else "segmentation")


def _print_table(rows: "Sequence[CostRow | VisionCost]") -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(title="G multiply-adds of the whole network")
    apart = ("note", "base_computed")
    named = {f.name: f.type for f in dataclasses.fields(rows[0]) if f.name not in apart}
    for name, kind in named.items():
        justify = "right" if kind in (float, "float") else "left"
        whole = name == "config"
        table.add_column(name.replace("_", " "), justify=justify, no_wrap=whole)
    noted: dict[str, int] = {}
    for row in rows:
        number = noted.setdefault(row.note, len(noted) + 1) if row.note else None
        config = row.config if number is None else f"{row.config} ({number})"
        shown = dataclasses.asdict(row) | {"config": config}
        cells = (shown[name] for name in named)
        table.add_row(*(f"{cell:.3f}" if isinstance(cell, float) else cell for cell in cells))
    console = Console()
    console.print(table)
    own = {getattr(row, "base_computed", None) for row in rows} - {None}
    for base in own:  # one network for all rows
        console.print(f"base computed: {base:.3f}")
    for note, number in noted.items():
        console.print(f"({number}) {note}", markup=False, highlight=False)
