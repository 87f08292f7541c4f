"""Locality probe: tokens in groups of three; the middle one asks for the value of its neighbors.

    value    7  2  7  4  0  4  5  5  5
    answer   -  7  -  -  4  -  -  5  -

It suffices to weight near tokens above far ones: any convolution, E2 and E4, even uniform weights
in a small window. Without positions a network sees a bag, in which the answer is one of many
values; the token's own value is independent of the answer.
"""

from typing import Literal

import numpy as np
from pydantic import model_validator

from quatrain.specs import SpecError
from quatrain.tasks.probes.question import IGNORE_INDEX, Question, Samples, make_samples

_GROUP = 3


class LocalitySpec(Question):
    """What is the value of my neighbors?

    Example:
        >>> LocalitySpec(length=9).draw(np.random.default_rng(0), 1).answers
    """

    kind: Literal["locality"] = "locality"
    length: int = 48
    """Tokens of a sequence; a multiple of 3."""

    @model_validator(mode="after")
    def _check_length(self) -> "LocalitySpec":
        if self.length < _GROUP or self.length % _GROUP:
            multiple = max(self.length // _GROUP, 1) * _GROUP
            remedy = f"use {multiple} or {multiple + _GROUP}"
            raise SpecError("LocalitySpec.length", self.length, f"a multiple of {_GROUP}", remedy)
        return self

    @property
    def features(self) -> tuple[int, ...]:
        """Value."""
        return (self.values,)

    def draw(self, random: np.random.Generator, number: int) -> Samples:
        """Draw `number` sequences with their answers, as a function of the state of `random`."""
        shape = (number, self.length // _GROUP)
        neighbors, middle = random.integers(self.values, size=(2, *shape))
        values = np.stack([neighbors, middle, neighbors], axis=-1)
        answers = np.full_like(values, IGNORE_INDEX)
        answers[..., 1] = neighbors
        return make_samples([values.reshape(number, -1)], answers.reshape(number, -1))
