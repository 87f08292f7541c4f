"""Types and checks of the whole numbers in specs and constructors: sizes, divisors, strides.

Source: our own; the bounds are far above any trained network, and low enough to be checked fast.
"""

import itertools
import math
from numbers import Integral
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field
from pydantic_core import PydanticCustomError

from quatrain.specs import SpecError

MOST_CHANNELS = 2**20
"""The largest number of channels of a module."""

_SHOWN = 16
"""Divisors that an error lists."""


def _refuse_bool(value: object) -> object:
    if isinstance(value, bool):
        raise PydanticCustomError("whole_number", "a whole number")
    return value


def _check_odd(value: int, info: Any) -> int:  # info: pydantic.ValidationInfo
    if value % 2 == 0:
        remedy = f"use {value - 1} or {value + 1}"
        raise SpecError(str(info.field_name), value, "an odd number", remedy)
    return value


Count = Annotated[int, BeforeValidator(_refuse_bool), Field(ge=1, le=MOST_CHANNELS)]
"""A number of heads or groups, a stride or a dilation."""
KernelWidth = Annotated[
    int, BeforeValidator(_refuse_bool), Field(ge=1, le=2**12), AfterValidator(_check_odd)
]
"""The odd width of a kernel along each axis."""
WindowWidth = Annotated[
    int, BeforeValidator(_refuse_bool), Field(ge=1, le=2**24), AfterValidator(_check_odd)
]
"""The odd width of an attention window along each axis; no weights depend on it."""


def check_ndim(ndim: int) -> None:
    """Check the number of axes.

    Raises:
        SpecError: if it is not 1 (sequences) or 2 (maps).
    """
    if ndim not in (1, 2):
        raise SpecError("ndim", ndim, "1 (sequences) or 2 (maps)", "use one of them")


def check_channels(name: str, channels: int) -> None:
    """Check a number of channels.

    Raises:
        SpecError: if it is not a whole number from 1 to `MOST_CHANNELS`.
    """
    whole = isinstance(channels, Integral) and not isinstance(channels, bool)
    if not whole or not 1 <= channels <= MOST_CHANNELS:
        value = shorten(channels) if isinstance(channels, int) else channels
        expected = f"a whole number from 1 to {MOST_CHANNELS}"
        raise SpecError(name, value, expected, "use another number of channels")


def check_divides(name: str, number: int, channels: int) -> None:
    """Check that a number of heads or groups divides the channels.

    Raises:
        SpecError: if it does not.
    """
    if channels % number:
        expected = f"a divisor of channels={channels}"
        raise SpecError(name, number, expected, f"use {_divisors(channels)}")


def check_stepwise(ndim: int, name: str, stride: int) -> None:
    """Check that a module can decode token by token.

    Raises:
        SpecError: if it works on maps, or its stride (called `name`) skips positions.
    """
    if ndim != 1:
        raise SpecError("ndim", ndim, "1 for step-by-step decoding", "decode sequences only")
    if stride > 1:
        raise SpecError(name, stride, "1 for step-by-step decoding", "keep every position")


def shorten(number: int) -> int | str:
    """The number for an error message, or its size if it has thousands of digits."""
    return number if number.bit_length() <= 64 else f"of {number.bit_length()} bits"


def _divisors(number: int) -> str:
    small = [n for n in range(1, math.isqrt(number) + 1) if number % n == 0]
    divisors = sorted({*small, *(number // n for n in small)})
    text = ", ".join(map(str, itertools.islice(divisors, _SHOWN)))
    return f"{text}, ..." if len(divisors) > _SHOWN else text
