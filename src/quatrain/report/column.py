"""A column of a table: how it reads, and what it is sorted by."""

from collections.abc import Sequence
from dataclasses import dataclass

Value = str | float | None

ABSENT = "–"


@dataclass(frozen=True)
class Column:
    """A header, the cells as text, and the values to sort by."""

    header: str
    texts: tuple[str, ...]
    values: tuple[Value, ...]
    numeric: bool


def words(header: str, texts: Sequence[str]) -> Column:
    """A column of text, sorted as it reads."""
    return Column(header, tuple(texts), tuple(texts), numeric=False)
