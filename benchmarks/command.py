"""The command line that all benchmarks share; a wrong argument is told in a sentence.

    run(__doc__, measure, rounds=9, device="cpu")       # measure(rounds=..., device=...)

Whatever is asked for must be read before the first measurement, so that a mistyped name costs no
time.
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

from benchmarks.outcome import Outcome, Row
from quatrain.specs import InputError, QuatrainError
from quatrain.study.resources import check_device

WRONG_ARGUMENT = 2
Case = TypeVar("Case")


class Parser(argparse.ArgumentParser):
    """What tells a wrong option in one line, without the usage."""

    def __init__(self, description: str | None) -> None:
        formatter = argparse.RawDescriptionHelpFormatter
        super().__init__(description=description, formatter_class=formatter)

    def error(self, message: str) -> Never:
        """Leave with the sentence."""
        self.exit(WRONG_ARGUMENT, f"{message}; --help shows the options.\n")


@contextmanager
def refusing() -> Iterator[None]:
    """Tell a wrong argument by its sentence, and leave."""
    try:
        yield
    except QuatrainError as error:
        print(error, file=sys.stderr)
        sys.exit(WRONG_ARGUMENT)


def run(
    description: str | None, measure: Callable[..., Outcome], *, rounds: int, **more: str | int
) -> None:
    """Read what every benchmark takes and options of its own with these defaults; measure; print.

    The options go to `measure` by name. With --json the outcome is printed as JSON, else as a
    table.
    """
    parser = Parser(description)
    threads = torch.get_num_threads()
    parser.add_argument("--threads", type=_positive, default=threads)
    parser.add_argument("--json", action="store_true")
    for name, default in {"rounds": rounds, **more}.items():
        kind = _positive if isinstance(default, int) else str
        parser.add_argument(f"--{name}", type=kind, default=default)
    given = vars(parser.parse_args())
    as_json = given.pop("json")
    torch.set_num_threads(given.pop("threads"))
    with refusing():
        check_device(str(given.get("device", "cpu")))
        outcome = measure(**given)
    print(outcome.to_json() if as_json else outcome.text())


def measured(cases: Sequence[Case], row: Callable[[Case], Row]) -> list[Row]:
    """A row for each case; each is told on standard error at once, as a line of JSON.

    So a benchmark that is stopped has lost nothing. On a terminal a bar is drawn too, between two
    cases only, so that it takes no time from them.
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


def sizes_of(option: str, text: str) -> tuple[int, int]:
    """The height and width of "50x84".

    Raises:
        InputError: if it is no map.
    """
    if re.fullmatch(r"[1-9]\d*x[1-9]\d*", text) is None:
        raise InputError(option, text, "a height and a width above 0", 'write "50x84"')
    height, width = map(int, text.split("x"))
    return height, width


def one_of(option: str, text: str, known: dict[str, Any]) -> Any:
    """What a name stands for.

    Raises:
        InputError: if it is not among them.
    """
    if text not in known:
        raise InputError(option, text, f"one of {', '.join(known)}", "choose one of them")
    return known[text]


def _positive(text: str) -> int:
    if re.fullmatch(r"[1-9]\d*", text) is None:
        raise argparse.ArgumentTypeError(f'"{text}" is no whole number above 0')
    return int(text)
