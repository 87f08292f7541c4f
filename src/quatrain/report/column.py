"""A column of a table: its text, and the values by which it is sorted."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

Value = str | float | None

ABSENT = "–"
_ASTRONOMICAL = 1e15


@dataclass(frozen=True)
class Column:
    """A header, the cells as text, and the values to sort by."""

    header: str
    texts: tuple[str, ...]
    values: tuple[Value, ...]
    numeric: bool


def text_column(header: str, texts: Sequence[str]) -> Column:
    """A column of text, sorted alphabetically."""
    return Column(header, tuple(texts), tuple(texts), numeric=False)


def number_column(
    header: str, values: Sequence[float | None], write: Callable[[float], str]
) -> Column:
    """A column of numbers as text; None is a dash."""
    texts = tuple(ABSENT if value is None else write(value) for value in values)
    return Column(header, texts, tuple(values), numeric=True)


def format_fixed(value: float, places: int, sign: str = "") -> str:
    """A number with this many decimal places; above 1e15 with three significant digits.

    Example:
        >>> format_fixed(1.5, 2), format_fixed(1.5, 2, "+"), format_fixed(1.5e99, 2)
        ('1.50', '+1.50', '1.5e+99')
    """
    return f"{value:{sign}.{places}f}" if abs(value) < _ASTRONOMICAL else f"{value:{sign}.3g}"
