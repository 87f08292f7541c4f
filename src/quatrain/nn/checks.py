"""The whole numbers that sizes of modules are: their bounds, and what divides what.

Source: our own; the bounds are far above any network that was ever trained, and far below what
takes a minute to refuse.
"""

import itertools
import math
from typing import Annotated

from pydantic import BeforeValidator, Field
from pydantic_core import PydanticCustomError

from quatrain.specs import SpecError

MOST_CHANNELS = 2**20
"""The largest width of a module."""

_SHOWN = 16
"""Divisors that a sentence names."""


def _no_truth_value(value: object) -> object:
    if isinstance(value, bool):
        raise PydanticCustomError("whole_number", "a whole number")
    return value


Count = Annotated[int, BeforeValidator(_no_truth_value), Field(ge=1, le=MOST_CHANNELS)]
"""A number of things: heads, groups, steps of a stride."""
Width = Annotated[int, BeforeValidator(_no_truth_value), Field(ge=1, le=2**12)]
"""Positions along one axis of a kernel, each of which has weights."""
Reach = Annotated[int, BeforeValidator(_no_truth_value), Field(ge=1, le=2**24)]
"""Positions along one axis that a window holds; weights do not grow with it."""


def check_channels(name: str, channels: int) -> None:
    """Refuse a width that no module has.

    Raises:
        SpecError: if it is no whole number from 1 to `MOST_CHANNELS`.
    """
    if isinstance(channels, bool) or not 1 <= channels <= MOST_CHANNELS:
        expected = f"a number from 1 to {MOST_CHANNELS}"
        raise SpecError(name, shown(channels), expected, "choose another")


def shown(number: int) -> int | str:
    """A number as a sentence repeats it, which is not with thousands of digits."""
    return number if number.bit_length() <= 64 else f"of {number.bit_length()} bits"


def check_divides(name: str, number: int, channels: int) -> None:
    """Refuse a number of heads or groups that leaves channels over.

    Raises:
        SpecError: if it does.
    """
    if channels % number:
        expected = f"a divisor of the {channels} channels"
        raise SpecError(name, number, expected, f"choose of {_divisors(channels)}")


def _divisors(number: int) -> str:
    small = [n for n in range(1, math.isqrt(number) + 1) if number % n == 0]
    found = sorted({*small, *(number // n for n in small)})
    shown = ", ".join(map(str, itertools.islice(found, _SHOWN)))
    return f"{shown}, ..." if len(found) > _SHOWN else shown
