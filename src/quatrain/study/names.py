"""Types of the fields of a study file: texts that can be displayed, and seeds.

A terminal, an SVG and a table can display a `Line` and a `Text`.
"""

import operator
import unicodedata
from collections.abc import Iterable, Sequence, Sized
from itertools import islice
from typing import Annotated, Any, cast

from pydantic import AfterValidator, Field, PlainValidator

from quatrain.specs import StudyError
from quatrain.specs.errors import shorten

LARGEST_SEED = 2**64 - 1
"""The largest seed that torch accepts."""

MOST_SEEDS = 10_000
_UNPRINTABLE = frozenset({"Cc", "Cs", "Zl", "Zp"})
"""Control characters, halves of surrogate pairs, separators of lines and of paragraphs."""


def _check_printable(text: str, allowed: str = "\n\t") -> str:
    for character in text:
        if character not in allowed and unicodedata.category(character) in _UNPRINTABLE:
            raise ValueError(f"remove {character!a}, which is not printable")
    return text


def _check_line(text: str) -> str:
    if not text.strip():
        raise ValueError("write a text that is not empty")
    return _check_printable(text, allowed="")


def check_seeds(seeds: object) -> tuple[int, ...]:
    """The seeds as integers of Python; those of numpy are converted."""
    if isinstance(seeds, str | bytes | dict) or not isinstance(seeds, Iterable):
        message = f"seeds={shorten(seeds)} is not a list of whole numbers; write seeds=[...]"
        raise StudyError(message, "seeds")
    items = cast("Iterable[object]", seeds)
    checked = tuple(map(_seed, islice(items, MOST_SEEDS + 1)))
    if not checked:
        raise StudyError("seeds is empty; write seeds=(0,)", "seeds")
    if len(checked) > MOST_SEEDS:
        raise too_many_seeds(f"{len(items):,}" if isinstance(items, Sized) else "more")
    if len(set(checked)) != len(checked):
        raise StudyError(f"seeds={shorten(checked)} repeats a seed; remove it", "seeds")
    return checked


def too_many_seeds(number: str) -> StudyError:
    """The error for more than `MOST_SEEDS` seeds."""
    return StudyError(f"seeds has {number} seeds; use at most {MOST_SEEDS:,}", "seeds")


def _seed(value: Any) -> int:
    try:
        is_bool = type(value).__name__ == "bool"  # also numpy's, which some versions take as 0 or 1
        seed = -1 if is_bool else operator.index(value)
    except TypeError:
        seed = -1
    if not 0 <= seed <= LARGEST_SEED:
        message = f"the seed {shorten(value)} is not a whole number from 0 to {LARGEST_SEED}"
        raise StudyError(message, "seeds")
    return seed


Text = Annotated[str, Field(strict=True, max_length=10_000), AfterValidator(_check_printable)]
"""A printable text of one or more lines."""

Line = Annotated[str, Field(strict=True, max_length=200), AfterValidator(_check_line)]
"""A printable line of text, not empty, such as a name, a title or a group."""

Seeds = Annotated[Sequence[int], PlainValidator(check_seeds)]
