"""Checks of the texts and numbers of a study file.

Values have the right type, and texts can be shown in a terminal, an SVG and a table.
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
_LONGEST_SHOWN = 100
_UNPRINTABLE = frozenset({"Cc", "Cs", "Zl", "Zp"})
"""Control characters, halves of surrogate pairs, separators of lines and of paragraphs."""


def check_line(field: str, value: object) -> None:
    """Check that `value` is a line of text: a name, a title, a group.

    Raises:
        StudyError: if it is no string, empty, long, or has characters that cannot be shown.
    """
    if _checked(field, value, _LONGEST_LINE, allowed="") == "":
        raise StudyError(field, value, "a text that is not empty", "write one")


def check_text(field: str, value: object) -> None:
    """Check that `value` is a text of one line or several.

    Raises:
        StudyError: if it is no string, longer than 10,000 characters, or has characters that
            cannot be shown.
    """
    _checked(field, value, _LONGEST_TEXT, allowed="\n\t")


def _checked(field: str, value: object, longest: int, allowed: str) -> str:
    if not isinstance(value, str):
        raise StudyError(field, shown(value), "a text", f'write it in quotes, as "{shown(value)}"')
    if len(value) > longest:
        start, expected = f"{value[:40]}...", f"at most {longest:,} characters"
        raise StudyError(field, start, f"{expected}, not {len(value):,}", "shorten it")
    for character in value:
        if character not in allowed and unicodedata.category(character) in _UNPRINTABLE:
            found, expected = f"{value!a:.60}", "characters that can be shown"
            raise StudyError(field, found, expected, f"remove {character!a}")
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
        raise StudyError(field, shown(value), "a finite number", "write one, or leave it out")


def items_of(field: str, value: object, of: str) -> Iterable[object]:
    """The items of a list, tuple or other iterable; a string is not one.

    Raises:
        StudyError: if `value` is not iterable, or is a string, bytes or a dictionary.
    """
    if isinstance(value, str | bytes | dict) or not isinstance(value, Iterable):
        raise StudyError(field, shown(value), f"a list of {of}", f"write {field}=[...]")
    return cast("Iterable[object]", value)


def seeds_of(seeds: object) -> tuple[int, ...]:
    """The seeds as integers of Python; those of numpy are converted.

    Raises:
        StudyError: if they are not distinct whole numbers that torch accepts, or are too many.
    """
    items = items_of("seeds", seeds, "whole numbers")
    found = tuple(_seed(each) for each in islice(items, MOST_SEEDS + 1))
    if not found:
        raise StudyError("seeds", (), "at least one seed", "give seeds=(0,)")
    if len(found) > MOST_SEEDS:
        raise too_many_seeds(f"{len(items):,}" if isinstance(items, Sized) else "larger")
    if len(set(found)) != len(found):
        raise StudyError("seeds", shown(found), "each seed once", "remove the repeated one")
    return found


def too_many_seeds(number: str) -> StudyError:
    """The error for more than `MOST_SEEDS` seeds."""
    expected = f"at most {MOST_SEEDS:,}"
    return StudyError("the number of seeds", number, expected, "name fewer seeds")


def _seed(value: object) -> int:
    try:
        seed = -1 if isinstance(value, bool) else operator.index(value)  # pyright: ignore[reportArgumentType]
    except TypeError:
        seed = -1
    if not 0 <= seed <= LARGEST_SEED:
        expected = f"a whole number from 0 to {LARGEST_SEED}"
        raise StudyError("seed", shown(value), expected, "change it")
    return seed


def shown(value: object) -> object:
    """A value for an error message: unchanged if it is short, else the start of its repr."""
    try:
        text = repr(value)
    except ValueError:  # an integer of more than 4,300 digits
        return f"a very large {type(value).__name__}"
    return value if len(text) <= _LONGEST_SHOWN else f"{text[:_LONGEST_SHOWN]}..."
