"""Checks of the texts and numbers of a study file.

Values have the right type, and texts can be displayed in a terminal, an SVG and a table.
"""

import math
import operator
import unicodedata
from collections.abc import Iterable, Sized
from contextlib import suppress
from itertools import islice
from typing import cast

from quatrain.specs import StudyError

LARGEST_SEED = 2**64 - 1
"""The largest seed that torch accepts."""

MOST_SEEDS = 10_000
_LONGEST_LINE = 200
_LONGEST_TEXT = 10_000
_LONGEST_VALUE = 100
_UNPRINTABLE = frozenset({"Cc", "Cs", "Zl", "Zp"})
"""Control characters, halves of surrogate pairs, separators of lines and of paragraphs."""


def check_line(field: str, value: object) -> None:
    """Check that `value` is one line of text, such as a name, a title or a group.

    Raises:
        StudyError: if it is no string, empty, too long, or has characters that are not printable.
    """
    if _check(field, value, _LONGEST_LINE, control="") == "":
        raise StudyError(field, value, "a text that is not empty", "write one")


def check_text(field: str, value: object) -> None:
    """Check that `value` is a text of one or more lines.

    Raises:
        StudyError: if it is no string, longer than 10,000 characters, or has characters that are
            not printable.
    """
    _check(field, value, _LONGEST_TEXT, control="\n\t")


def _check(field: str, value: object, longest: int, control: str) -> str:
    if not isinstance(value, str):
        text = shorten(value)
        raise StudyError(field, text, "a text", f'write it in quotes, as "{text}"')
    if len(value) > longest:
        expected = f"at most {longest:,} characters, not {len(value):,}"
        raise StudyError(field, f"{value[:40]}...", expected, "shorten it")
    for character in value:
        if character not in control and unicodedata.category(character) in _UNPRINTABLE:
            expected = "printable characters"
            raise StudyError(field, f"{value!a:.60}", expected, f"remove {character!a}")
    return value.strip()


def check_number(field: str, value: object) -> None:
    """Check that `value` is a finite number.

    Raises:
        StudyError: if it is not.
    """
    number = math.nan
    if isinstance(value, int | float) and not isinstance(value, bool):
        with suppress(OverflowError):
            number = float(value)
    if not math.isfinite(number):
        raise StudyError(field, shorten(value), "a finite number", "write one, or leave it out")


def check_iterable(field: str, value: object, of: str) -> Iterable[object]:
    """The items of a list, tuple or other iterable.

    Raises:
        StudyError: if `value` is not iterable, or is a string, bytes or a dictionary.
    """
    if isinstance(value, str | bytes | dict) or not isinstance(value, Iterable):
        raise StudyError(field, shorten(value), f"a list of {of}", f"write {field}=[...]")
    return cast("Iterable[object]", value)


def check_seeds(seeds: object) -> tuple[int, ...]:
    """The seeds as integers of Python; those of numpy are converted.

    Raises:
        StudyError: if they are not distinct whole numbers that torch accepts, or are too many.
    """
    items = check_iterable("seeds", seeds, "whole numbers")
    checked = tuple(_seed(each) for each in islice(items, MOST_SEEDS + 1))
    if not checked:
        raise StudyError("seeds", (), "at least one seed", "write seeds=(0,)")
    if len(checked) > MOST_SEEDS:
        raise too_many_seeds(f"{len(items):,}" if isinstance(items, Sized) else "larger")
    if len(set(checked)) != len(checked):
        raise StudyError("seeds", shorten(checked), "each seed once", "remove the repeated one")
    return checked


def too_many_seeds(number: str) -> StudyError:
    """The error for more than `MOST_SEEDS` seeds."""
    expected = f"at most {MOST_SEEDS:,}"
    return StudyError("the number of seeds", number, expected, "use fewer seeds")


def _seed(value: object) -> int:
    try:
        seed = -1 if isinstance(value, bool) else operator.index(value)  # pyright: ignore[reportArgumentType]
    except TypeError:
        seed = -1
    if not 0 <= seed <= LARGEST_SEED:
        expected = f"a whole number from 0 to {LARGEST_SEED}"
        raise StudyError("seed", shorten(value), expected, "change it")
    return seed


def shorten(value: object) -> object:
    """A value for an error message: itself if it is short, else the start of its repr."""
    try:
        text = repr(value)
    except ValueError:  # an integer of more than 4,300 digits
        return f"a very large {type(value).__name__}"
    return value if len(text) <= _LONGEST_VALUE else f"{text[:_LONGEST_VALUE]}..."
