"""`quatrain knockout`: a finished run with terms switched off, and the shares of its terms."""

import math
import sys
from collections.abc import Iterable, Sequence
from contextlib import redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from quatrain.cli.arguments import absolute
from quatrain.cli.output import open_console, print_json, print_line, print_table
from quatrain.specs import Term

if TYPE_CHECKING:
    from quatrain.study.knockout import RunKnockout

_AGREEMENT = 1e-3
"""Relative difference from the record that computation on another machine explains."""


def knockout(
    run: Annotated[
        Path, typer.Argument(help="The folder of a finished run: OUT/runs/...", metavar="RUN")
    ],
    study: Annotated[
        Path | None, typer.Option(help="The study file, if it defines the spec of the run.")
    ] = None,
    data: Annotated[Path | None, typer.Option(help="The folder of data.")] = None,
    device: Annotated[str, typer.Option(help="The device, such as cpu or cuda:0.")] = "cpu",
    at: Annotated[
        str | None, typer.Option(help="A glob of modules; only their terms are switched.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")] = False,
) -> None:
    """Evaluate a finished run with terms switched off, everywhere and in one module at a time.

    Cells of the same study that were trained with fewer terms are printed next to the run with
    these terms on. Shares are those of each term in the variance of the logits, and in the
    attention: the part that moves when the term is switched off.

    Example: quatrain knockout runs/numerals_terms/runs/0123456789abcdef --at "**.cross_attention"
    """
    from quatrain.study.knockout import knockout_run
    from quatrain.study.reopen import reopen

    with (
        redirect_stdout(sys.stderr),
        reopen(
            absolute("RUN", run),
            study=study and absolute("--study", study),
            data=data and absolute("--data", data),
            device=device,
        ) as opened,
    ):
        result = knockout_run(opened, at)
    if as_json:
        print_json(_as_json(result))
        return
    _print(open_console(), result)


def _print(console: Console, result: "RunKnockout") -> None:
    metric = result.metric
    everywhere = {
        str(found.terms): found.metrics[metric] for found in result.results if found.at is None
    }
    full = list(everywhere.values())[-1]
    print_line(console, f"{result.cell}, seed {result.seed}: {metric} {full:.2f}.")
    if not math.isclose(full, result.recorded, rel_tol=_AGREEMENT):
        print_line(console, f"Note: the record of the run has {result.recorded:.2f}.")
    rows = [[terms, _number(value), _signed(value - full)] for terms, value in everywhere.items()]
    _print_rows(console, "Terms on in all modules", ("terms", metric, "difference"), rows)
    if result.retrained:
        rows = [
            [cell.cell, _number(cell.knocked_out), _number(cell.retrained), str(cell.seeds)]
            for cell in result.retrained
        ]
        columns = ("cell", "knocked out", "trained so", "seeds")
        _print_rows(console, "Cells that were trained with these terms", columns, rows)
    _print_modules(console, result, full)
    _print_shares(console, result)


def _print_modules(console: Console, result: "RunKnockout", full: float) -> None:
    """The change of the metric, by module and term that is off."""
    by_module: dict[str, dict[Term, float]] = {}
    for found in result.results:
        if found.at is not None:
            by_module.setdefault(found.at, {})[found.terms] = found.metrics[result.metric]
    rows: list[list[str]] = []
    for name, changes in by_module.items():
        built = Term(0)
        for term in result.shares[name].variance:
            built |= term
        off = [changes.get(built & ~term) if term in built else None for term in Term]
        values = [*off, changes.get(Term(0))]
        rows.append([name, *("-" if x is None else _signed(x - full) for x in values)])
    columns = ("module", "E1 off", "E2 off", "E3 off", "E4 off", "all off")
    _print_rows(console, f"Change of {result.metric} with terms off in one module", columns, rows)


def _print_shares(console: Console, result: "RunKnockout") -> None:
    rows: list[list[str]] = []
    for name, shares in result.shares.items():
        for head in range(len(shares.logit_variance)):
            parts = [
                "-" if term not in by_term else _percent(float(by_term[term][head]))
                for by_term in (shares.variance, shares.mass)
                for term in Term
            ]
            rows.append([name, str(head), *parts])
    names = [
        f"{quantity} {term}"
        for quantity in ("variance", "mass")
        for term in ("E1", "E2", "E3", "E4")
    ]
    _print_rows(console, "Share of each term, by head", ("module", "head", *names), rows)


def _print_rows(
    console: Console, title: str, columns: Sequence[str], rows: Iterable[Sequence[str]]
) -> None:
    table = Table(title=title, title_justify="left", box=None, header_style="bold", pad_edge=False)
    for number, column in enumerate(columns):
        table.add_column(column, justify="left" if number == 0 else "right")
    for row in rows:
        table.add_row(*row)
    console.print()
    print_table(console, table)


def _number(value: float) -> str:
    return f"{value:.2f}"


def _signed(value: float) -> str:
    return f"{value:+.2f}"


def _percent(value: float) -> str:
    return "-" if math.isnan(value) else f"{round(100 * value)} %"


def _as_json(result: "RunKnockout") -> dict[str, Any]:
    def numbers(by_term: dict[Term, Any]) -> dict[str, list[float | None]]:
        return {
            str(term): [None if math.isnan(x) else x for x in values.tolist()]
            for term, values in by_term.items()
        }

    def terms_text(terms: dict[str, Term]) -> dict[str, str]:
        return {name: str(each) for name, each in terms.items()}

    return {
        "cell": result.cell,
        "seed": result.seed,
        "metric": result.metric,
        "recorded": result.recorded,
        "results": [
            {"at": found.at, "terms": str(found.terms), "metrics": found.metrics}
            for found in result.results
        ],
        "retrained": [vars(cell) | {"terms": terms_text(cell.terms)} for cell in result.retrained],
        "shares": {
            name: {
                "variance": numbers(shares.variance),
                "mass": numbers(shares.mass),
                "logit_variance": shares.logit_variance.tolist(),
                "queries": shares.queries,
            }
            for name, shares in result.shares.items()
        },
    }
