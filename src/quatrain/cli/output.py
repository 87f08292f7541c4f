"""Printing the result of a command: a table or JSON."""

import io
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from quatrain.report.escape import visible

_PAGE_WIDTH = 160


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
    table = Table(box=None, header_style="bold", pad_edge=False)
    for column in columns:
        table.add_column(column.replace("_", " "))
    for row in rows:
        table.add_row(*(Text(visible(_format(getattr(row, column)))) for column in columns))
    print_table(open_console(), table)


def _format(value: object) -> str:
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:.3g}"
    return ", ".join(map(str, value)) if isinstance(value, tuple) else str(value)
