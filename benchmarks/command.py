"""The command line of all benchmarks; a wrong argument is reported in one sentence.

    run(__doc__, measure, rounds=9, device="cpu")       # measure(rounds=..., device=...)

A benchmark checks all arguments before the first measurement, so that a typo costs no time.
"""

import argparse
import json
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Never, TypeVar

import torch
from rich.console import Console
from rich.progress import track

from benchmarks.result import Result, Row
from quatrain.specs import InputError, QuatrainError
from quatrain.study.resources import check_device

WRONG_ARGUMENT = 2
Case = TypeVar("Case")


class Parser(argparse.ArgumentParser):
    """An argument parser that reports a wrong option in one line, without the usage."""

    def __init__(self, description: str | None) -> None:
        formatter = argparse.RawDescriptionHelpFormatter
        super().__init__(description=description, formatter_class=formatter)

    def error(self, message: str) -> Never:
        """Print the message and exit."""
        self.exit(WRONG_ARGUMENT, f"{message}; --help shows the options.\n")


@contextmanager
def exit_on_error() -> Iterator[None]:
    """Print a QuatrainError to standard error and exit."""
    try:
        yield
    except QuatrainError as error:
        print(error, file=sys.stderr)
        sys.exit(WRONG_ARGUMENT)


def run(
    description: str | None, measure: Callable[..., Result], *, rounds: int, **more: str | int
) -> None:
    """Parse the command line, measure, and print the result.

    Args:
        description: the text of --help.
        measure: the benchmark; it gets the options by name.
        rounds: the default of --rounds.
        more: further options and their defaults.
    """
    parser = Parser(description)
    threads = torch.get_num_threads()
    parser.add_argument("--threads", type=_positive, default=threads)
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    for name, default in {"rounds": rounds, **more}.items():
        kind = _positive if isinstance(default, int) else str
        parser.add_argument(f"--{name}", type=kind, default=default)
    options = vars(parser.parse_args())
    as_json = options.pop("json")
    torch.set_num_threads(options.pop("threads"))
    with exit_on_error():
        check_device(str(options.get("device", "cpu")))
        result = measure(**options)
    print(result.to_json() if as_json else result.text())


def measure_rows(cases: Sequence[Case], row: Callable[[Case], Row]) -> list[Row]:
    """Compute a row for each case, and print each to standard error as a line of JSON.

    An interrupted benchmark so keeps its finished rows. On a terminal a progress bar is drawn
    between two cases, where it does not disturb the measurement.
    """
    console = Console(stderr=True, soft_wrap=True)
    rows: list[Row] = []
    for case in track(
        cases,
        "measuring",
        console=console,
        auto_refresh=False,
        transient=True,
        disable=not console.is_terminal,
    ):
        rows.append(row(case))
        console.print(json.dumps(rows[-1]), markup=False, highlight=False)
    return rows


def parse_size(option: str, text: str) -> tuple[int, int]:
    """The height and width of "50x84".

    Raises:
        InputError: if the text is not a size.
    """
    if re.fullmatch(r"[1-9]\d*x[1-9]\d*", text) is None:
        raise InputError(f'{option}={text!r} is no height and width; write "50x84"', option)
    height, width = map(int, text.split("x"))
    return height, width


def choose(option: str, text: str, choices: dict[str, Any]) -> Any:
    """The choice with that name.

    Raises:
        InputError: if there is none.
    """
    if text not in choices:
        raise InputError(f"{option}={text!r} is unknown; use {', '.join(choices)}", option)
    return choices[text]


def _positive(text: str) -> int:
    if re.fullmatch(r"[1-9]\d*", text) is None:
        raise argparse.ArgumentTypeError(f'"{text}" is not a whole number above 0')
    return int(text)
