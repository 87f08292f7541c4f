"""The tables of a report for the terminal, and data as CSV.

CSV and JSON keep every digit and the base unit; tables for people are rounded and scaled.
"""

import csv
import io
from collections.abc import Mapping, Sequence

from quatrain.report.columns import Column, Value
from quatrain.report.text import for_spreadsheet, visible
from quatrain.specs.extras import name_missing_extra

with name_missing_extra():
    from rich import box
    from rich.table import Table
    from rich.text import Text


def to_terminal(columns: Sequence[Column], title: str) -> Table:
    """A table for `rich.console.Console`, in which a group is named once."""
    table = Table(
        title=Text(visible(title)),
        title_justify="left",
        box=box.SIMPLE_HEAD,
        pad_edge=False,
        padding=(0, 1),
    )
    for column in columns:
        justify = "right" if column.numeric else "left"
        header = Text(visible(column.header).replace(" ", "\n", 1))
        table.add_column(header, justify=justify, no_wrap=column.numeric, overflow="fold")
    group = ""
    for first, *texts in zip(*(column.texts for column in columns), strict=True):
        line = ["" if first == group else first, *texts]
        table.add_row(*(Text(visible(text)) for text in line))
        group = first
    return table


def to_csv(rows: Sequence[Mapping[str, Value]]) -> str:
    """Flat rows with the same keys as CSV with a header line.

    Texts that a spreadsheet would evaluate as a formula begin with an apostrophe.
    """
    if not rows:
        return ""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    for line in ([*rows[0]], *([*row.values()] for row in rows)):
        writer.writerow(for_spreadsheet(x) if isinstance(x, str) else x for x in line)
    return text.getvalue()
