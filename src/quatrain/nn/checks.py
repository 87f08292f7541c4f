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
from quatrain.specs.errors import shorten

MOST_CHANNELS = 2**20
"""The largest number of channels of a module."""

_SHOWN = 16
"""Divisors that an error lists."""


def _check_not_bool(value: object) -> object:
    if isinstance(value, bool):
        raise PydanticCustomError("whole_number", "Input should be a whole number")
    return value


def _check_odd(value: int, info: Any) -> int:  # info: pydantic.ValidationInfo
    if value % 2 == 0:
        name = info.field_name
        raise SpecError(f"{name}={value} is even; use {value - 1} or {value + 1}", name)
    return value


_Whole = Annotated[int, BeforeValidator(_check_not_bool)]
Count = Annotated[_Whole, Field(ge=1, le=MOST_CHANNELS)]
"""A number of heads or groups, a stride or a dilation."""
KernelWidth = Annotated[_Whole, Field(ge=1, le=2**12), AfterValidator(_check_odd)]
"""The odd width of a kernel along each axis."""
WindowWidth = Annotated[_Whole, Field(ge=1, le=2**24), AfterValidator(_check_odd)]
"""The odd width of an attention window along each axis; no weights depend on it."""


def check_channels(name: str, channels: int) -> None:
    """Check that a number of channels is a whole number from 1 to `MOST_CHANNELS`."""
    whole = isinstance(channels, Integral) and not isinstance(channels, bool)
    if not whole or not 1 <= channels <= MOST_CHANNELS:
        text = f"{name}={shorten(channels)} is not a whole number from 1 to {MOST_CHANNELS}"
        raise SpecError(text, name)


def check_divides(name: str, number: int, channels: int) -> None:
    """Check that a number of heads or groups divides the channels."""
    if channels % number:
        text = f"{name}={number} does not divide channels={channels}; use {_divisors(channels)}"
        raise SpecError(text, name)


def check_stepwise(ndim: int, name: str, stride: int) -> None:
    """Check that a module can decode token by token: sequences, and no stride (called `name`)."""
    for field, value in (("ndim", ndim), (name, stride)):
        if value != 1:
            raise SpecError(f"{field}={value} excludes step-by-step decoding; use {field}=1", field)


def _divisors(number: int) -> str:
    small = [n for n in range(1, math.isqrt(number) + 1) if number % n == 0]
    divisors = sorted({*small, *(number // n for n in small)})
    text = ", ".join(map(str, itertools.islice(divisors, _SHOWN)))
    return f"{text}, ..." if len(divisors) > _SHOWN else text
