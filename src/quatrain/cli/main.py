"""The program `quatrain`.

    quatrain study new | plan | run | work | submit | cancel | watch | status | measure
    quatrain report
    quatrain findings
    quatrain knockout
    quatrain one-shot
    quatrain cost
    quatrain plan
    quatrain convert

An error in the input is one sentence and exit status 2, Ctrl-C one sentence and exit status 130; a
traceback is a bug of the program.
"""

import gc
import re
import sys
from typing import Any

import typer
from rich.console import Console
from typer.core import TyperGroup

from quatrain.cli.convert import convert
from quatrain.cli.cost import app as cost_app
from quatrain.cli.findings import findings
from quatrain.cli.knockout import knockout
from quatrain.cli.one_shot import one_shot
from quatrain.cli.output import (
    open_closed_streams,
    print_line,
    private_stdout,
    replace_unencodable,
)
from quatrain.cli.plan import plan
from quatrain.cli.report import report
from quatrain.cli.start import STATUS, STOPPED
from quatrain.cli.study import app as study_app
from quatrain.specs import QuatrainError

_UsageError: Any = typer.BadParameter.__base__
"""The base of typer's errors about arguments, which it does not export."""


_ALLOCATIONS = 100_000
"""Objects between two searches for unreachable ones: 10,000 records are a million objects, which
live as long as the program."""


class _Program(TyperGroup):
    """The commands, with one sentence after a wrong argument or Ctrl-C."""

    def main(self, *arguments: Any, standalone_mode: bool = True, **options: Any) -> Any:
        if not standalone_mode:
            return super().main(*arguments, standalone_mode=False, **options)
        try:
            status = super().main(*arguments, standalone_mode=False, **options)
        except _UsageError as error:
            _print_usage_error(error)
            sys.exit(2)
        sys.exit(status if isinstance(status, int) else 0)

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            sys.stderr.write(STOPPED)
            raise typer.Exit(STATUS) from None


def _print_usage_error(error: Any) -> None:
    """Print one sentence, or the help of a command that was called without arguments."""
    if type(error).__name__ == "NoArgsIsHelpError":
        error.show()
        return
    text = " ".join(error.format_message().split()).rstrip(".")
    noise = r"(?: Input(?= should)| Value error,)?"
    text = re.sub(rf"^Invalid value for '?([^:']+)'?:{noise}", r"\1", text)
    path = error.ctx.command_path if error.ctx else "quatrain"
    sentence = f"Error: {text[:1].lower()}{text[1:]}; see `{path} --help`"
    print_line(Console(stderr=True), sentence, style="red")


app: typer.Typer = typer.Typer(
    cls=_Program,
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    help="Build spatial attention from its four terms, and measure accuracy and cost of each.",
)
app.add_typer(study_app, name="study")
app.add_typer(cost_app, name="cost")
app.command()(report)
app.command()(findings)
app.command()(knockout)
app.command()(one_shot)
app.command()(plan)
app.command()(convert)


def main() -> None:
    """Run the program with the arguments of the process."""
    gc.set_threshold(_ALLOCATIONS)
    open_closed_streams()
    replace_unencodable()
    try:
        with private_stdout():
            app()
    except QuatrainError as error:
        print_line(Console(stderr=True), f"Error: {error}", style="red")
        sys.exit(2)
