"""The base of the probes: sequences of tokens with several features, and their answers.

A token is a tuple of small integers, one for each feature; the network adds the embeddings of the
features. Positions are not encoded in the data: values are drawn independently from one
distribution for all positions, and the distance to the answer does not depend on the position.

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

IGNORE_INDEX = -1
"""The answer at tokens without a question, which loss and accuracy ignore."""


class Samples(NamedTuple):
    """Sequences, and the answer at each token or IGNORE_INDEX."""

    tokens: Int64[Tensor, "n t f"]
    answers: Int64[Tensor, "n t"]


class Question(Spec):
    """Base class of the probes."""

    values: int = Field(default=32, ge=2)
    """Number of different values: a random guess is correct with probability 1 / values."""
    length: int = Field(default=32, ge=2)
    """Tokens of a sequence."""

    @property
    def features(self) -> tuple[int, ...]:
        """Number of different integers of each feature of a token; the value is the first."""
        raise NotImplementedError

    def draw(self, random: np.random.Generator, number: int) -> Samples:
        """Draw `number` sequences with their answers, as a function of the state of `random`."""
        raise NotImplementedError


def make_samples(features: Sequence[np.ndarray], answers: np.ndarray) -> Samples:
    """Samples from the features of each token and the answers."""
    tokens = np.stack(features, axis=-1).astype(np.int64)
    return Samples(torch.from_numpy(tokens), torch.from_numpy(answers.astype(np.int64)))


def validate(samples: Samples, values: int) -> Samples:
    """Samples as int64, from any signed integer type.

    Raises:
        InputError: if a type is not a signed integer, shapes differ, or an answer is neither a
            value nor IGNORE_INDEX.
    """
    tokens, answers = (
        _to_int64(tensor, name) for name, tensor in zip(Samples._fields, samples, strict=True)
    )
    if answers.shape != tokens.shape[:-1]:
        expected = f"{tuple(tokens.shape[:-1])}, one for each token"
        remedy = f"give each token an answer or {IGNORE_INDEX}"
        raise InputError("the shape of answers", tuple(answers.shape), expected, remedy)
    if ((answers < IGNORE_INDEX) | (answers >= values)).any():
        value = f"{int(answers.min())} to {int(answers.max())}"
        expected = f"0 to {values - 1}, or {IGNORE_INDEX}"
        raise InputError("answers", value, expected, "number the values from 0")
    return Samples(tokens, answers)


def _to_int64(tensor: Shaped[Tensor, "..."], field: str) -> Int64[Tensor, "..."]:
    integer = not (tensor.is_floating_point() or tensor.is_complex())
    if not integer or not tensor.dtype.is_signed:
        expected = "a signed integer type, such as torch.int64"
        remedy = f"{IGNORE_INDEX} marks tokens without a question"
        raise InputError(field, str(tensor.dtype), expected, remedy)
    return tensor.long()


def most_common(values: Int64[Tensor, "n t"], number: int) -> Int64[Tensor, " n"]:
    """The most common of `number` values in each sequence."""
    return torch.nn.functional.one_hot(values, number).sum(1).argmax(-1)


def check_far(field: str, far: int, length: int) -> None:
    """Check that each token has another at this distance.

    Raises:
        SpecError: if the middle token has none.
    """
    if far > length // 2:
        remedy = f"use {length // 2} or less, or lengthen the sequence"
        raise SpecError(field, far, f"at most half of the {length} tokens", remedy)
