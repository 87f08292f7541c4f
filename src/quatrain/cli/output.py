"""Output of the program: its standard streams, and the result of a command as table or JSON."""

import io
import json
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

from quatrain.report.text import format_quantity, visible
from quatrain.results import Measurement, ResultStore

if TYPE_CHECKING:
    from quatrain.study import Run, Study

_PAGE_WIDTH = 160


def open_closed_streams() -> None:
    """Open the null device for each standard stream that is closed, as after `>&-`.

    Otherwise the next file or pipe of the process would get the descriptor of that stream.
    """
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            stream = open(os.devnull, mode, encoding="utf-8")  # noqa: SIM115, PTH123 - stays open
            os.set_inheritable(stream.fileno(), True)
            setattr(sys, name, stream)


@contextmanager
def private_stdout() -> Iterator[None]:
    """Reserve stdout for `sys.stdout`, and redirect all other output on it to stderr.

    This uses file descriptors, since libraries in C print too, and lasts until the process ends,
    since some print at exit. It does nothing if `sys.stdout` was replaced, as in tests, or closed.
    """
    if sys.stdout is not sys.__stdout__:
        yield
        return
    sys.stdout.flush()
    private = os.dup(1)
    os.dup2(2, 1)
    with open(private, "w", encoding=sys.stdout.encoding, errors=sys.stdout.errors) as stream:  # noqa: PTH123
        if stream.isatty():
            stream.reconfigure(line_buffering=True)
        sys.stdout = stream
        try:
            yield
        finally:
            _flush(stream)
            sys.stdout = sys.stderr


def replace_unencodable() -> None:
    """Print "?" for characters that the encoding of stdout or stderr does not have."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")


def open_console() -> Console:
    """A console on stdout: as wide as the terminal, or 160 columns in a file or a pipe.

    With FORCE_COLOR the output to a file or a pipe has colours, but no progress bars.
    """
    interactive = sys.stdout.isatty()
    width = None if interactive else _PAGE_WIDTH
    return Console(width=width, force_interactive=interactive)


def print_line(console: Console, text: str, style: str | None = None) -> None:
    """Print text without markup and with escaped control characters, as names of cells have."""
    console.print(visible(text), style=style, markup=False, highlight=False, soft_wrap=True)


def width_of(table: Table) -> int:
    """The number of columns that the complete table needs."""
    return Console(width=1000).measure(table).maximum


def print_table(console: Console, table: Table) -> None:
    """Print a complete table; its lines wrap in a terminal that is too narrow."""
    wide = Console(file=console.file, width=max(console.width, width_of(table)))
    wide.print(table)


def print_json(value: Any) -> None:
    """Print one JSON document on stdout.

    It is ASCII if it has control characters or characters that the encoding of stdout lacks.
    """
    text = json.dumps(value, indent=2, ensure_ascii=False)
    encoding = sys.stdout.encoding or "utf-8"
    is_safe = visible(text) == text and text.encode(encoding, "replace").decode(encoding) == text
    print(text if is_safe else json.dumps(value, indent=2))


def print_rows(rows: Sequence[Any], columns: Sequence[str], *, as_json: bool) -> None:
    """Print dataclasses as a table of the given fields, or as JSON with all fields."""
    if as_json:
        print_json([asdict(row) for row in rows])
        return
    console = open_console()
    headers = [column.replace("_", " ") for column in columns]
    cells = [[visible(_format(getattr(row, column))) for column in columns] for row in rows]
    head, *lines = aligned([headers, *cells])
    console.print(Text(head, "bold"), soft_wrap=True)
    console.file.writelines(f"{line}\n" for line in lines)


def aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """The lines of a table with columns of equal width, two spaces apart.

    A text of several lines makes a row of several lines. `rich.table.Table` lays out the same
    table, but takes 12 seconds for 10,000 rows.

    Example:
        >>> aligned([["cell", "seed"], ["w/o", "0"]])
        ['cell  seed', 'w/o   0']
    """
    split = [[text.expandtabs().split("\n") for text in row] for row in rows]
    columns = zip(*split, strict=True)
    widths = [max(cell_len(line) for text in texts for line in text) for texts in columns]
    lines: list[str] = []
    for row in split:
        for line in zip_longest(*row, fillvalue=""):
            pairs = zip(line, widths, strict=True)
            padded = (text + " " * (width - cell_len(text)) for text, width in pairs)
            lines.append("  ".join(padded).rstrip())
    return lines


def _format(value: object) -> str:
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:.3g}"
    return ", ".join(map(str, value)) if isinstance(value, tuple) else str(value)


def _flush(stream: TextIO) -> None:
    try:
        stream.flush()
    except BrokenPipeError:  # the reader has ended, as `head` does
        with Path(os.devnull).open("w") as nothing:
            os.dup2(nothing.fileno(), stream.fileno())


def measurement_summary(measurement: Measurement) -> str:
    """The quantities of a measurement in one line.

    '1.21 ms (spread 0.02), 3.4 MiB, paper multiply adds 1,208,320'
    """
    median, spread = measurement.median_seconds, measurement.spread_seconds
    parts: list[str] = []
    if median is not None and spread is not None:
        parts.append(f"{1e3 * median:.2f} ms (spread {1e3 * spread:.2f})")
    if measurement.peak_bytes is not None:
        parts.append(f"{format_quantity(measurement.peak_bytes / 2**20, 1)} MiB")
    for name, value in (measurement.cost or {}).items():
        parts.append(f"{visible(name.replace('_', ' '))} {value:,.0f}")
    return ", ".join(parts) or "the record has all counts"


def print_notes(study: "Study", store: ResultStore, runs: "Sequence[Run]") -> None:
    """Print the notes on `runs` to stderr."""
    from quatrain.study.changes import notes_on

    console = Console(stderr=True)
    for note in notes_on(study, store, runs):
        print_line(console, f"Note: {note}")
