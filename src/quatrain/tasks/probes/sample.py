"""What all probes share: tokens of several features, and questions at some of them.

A token is a tuple of small numbers, one for each feature; the network embeds each feature and
adds them up. Nothing says where a token stands: values are drawn independently, one law for all
places, and what a question is about lies at a distance drawn without regard to the place.

Shapes: n sequences, t tokens, f features.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Int64, Shaped
from pydantic import Field
from torch import Tensor

from quatrain.specs import InputError, Spec, SpecError

UNASKED = -1
"""The answer at tokens where nothing is asked."""


class Samples(NamedTuple):
    """Sequences, and the answer at each token or UNASKED."""

    tokens: Int64[Tensor, "n t f"]
    answers: Int64[Tensor, "n t"]


class Question(Spec):
    """The base of the probes: how many values there are, and how long a sequence is."""

    values: int = Field(default=32, ge=2)
    """How many different values there are: a blind guess is right once in so many times."""
    length: int = Field(default=32, ge=2)
    """Tokens of a sequence."""

    @property
    def features(self) -> tuple[int, ...]:
        """How many different numbers each feature of a token takes; the value comes first."""
        raise NotImplementedError

    def draw(self, random: np.random.Generator, number: int) -> Samples:
        """That many sequences with their answers, a function of the state of `random`."""
        raise NotImplementedError


def samples(features: Sequence[np.ndarray], answers: np.ndarray) -> Samples:
    """The features of each token side by side."""
    tokens = np.stack(features, axis=-1).astype(np.int64)
    return Samples(torch.from_numpy(tokens), torch.from_numpy(answers.astype(np.int64)))


def checked(part: Samples, values: int) -> Samples:
    """Samples as int64, from any integer type that holds UNASKED.

    Raises:
        InputError: if a type does not, shapes differ, or an answer is neither a value nor UNASKED.
    """
    tokens, answers = (
        _signed(each, name) for name, each in zip(Samples._fields, part, strict=True)
    )
    if answers.shape != tokens.shape[:-1]:
        expected = f"{tuple(tokens.shape[:-1])}, one a token"
        remedy = "give each token an answer or UNASKED"
        raise InputError("the shape of answers", tuple(answers.shape), expected, remedy)
    if ((answers < UNASKED) | (answers >= values)).any():
        found = f"{int(answers.min())} to {int(answers.max())}"
        remedy = "number the values from 0"
        raise InputError("answers", found, f"0 to {values - 1}, or {UNASKED}", remedy)
    return Samples(tokens, answers)


def _signed(numbers: Shaped[Tensor, "..."], field: str) -> Int64[Tensor, "..."]:
    whole = not (numbers.is_floating_point() or numbers.is_complex())
    if not whole or not numbers.dtype.is_signed:
        expected = "a signed integer type, as torch.int64"
        raise InputError(field, str(numbers.dtype), expected, f"{UNASKED} marks what is not asked")
    return numbers.long()


def commonest(values: Int64[Tensor, "n t"], kinds: int) -> Int64[Tensor, " n"]:
    """The commonest value of each sequence: the answer of whoever can only count."""
    return torch.nn.functional.one_hot(values, kinds).sum(1).argmax(-1)


def check_far(field: str, far: int, length: int) -> None:
    """Refuse a distance at which some token would have nothing to ask about.

    Raises:
        SpecError: if the token in the middle has no other so far away.
    """
    if far > length // 2:
        remedy = f"use {length // 2} or less, or lengthen the sequence"
        raise SpecError(field, far, f"at most half of the {length} tokens", remedy)
