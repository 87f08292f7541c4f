"""Locality: a token asks for the value that both its neighbours hold.

    value    7  2  7  4  0  4  5  5  5
    answer   -  7  -  -  4  -  -  5  -

To weigh near tokens above far ones is enough: any convolution, E2 and E4, even uniform weights in
a small window. Without position a network sees a bag in which the answer is one of many values;
the token's own value is drawn apart from it, and tells nothing.
"""

from typing import Literal

import numpy as np
from pydantic import model_validator

from quatrain.specs import SpecError
from quatrain.tasks.probes.sample import UNASKED, Question, Samples, samples

_GROUP = 3


class LocalitySpec(Question):
    """What is the value of my neighbours?

    Example:
        >>> LocalitySpec(length=9).draw(np.random.default_rng(0), 1).answers
    """

    kind: Literal["locality"] = "locality"
    length: int = 48
    """Tokens of a sequence: threes, of which the middle one asks."""

    @model_validator(mode="after")
    def _consists_of_threes(self) -> "LocalitySpec":
        if self.length < _GROUP or self.length % _GROUP:
            near = max(self.length // _GROUP, 1) * _GROUP
            remedy = f"use {near} or {near + _GROUP}"
            raise SpecError("LocalitySpec.length", self.length, f"a multiple of {_GROUP}", remedy)
        return self

    @property
    def features(self) -> tuple[int, ...]:
        """The value."""
        return (self.values,)

    def draw(self, random: np.random.Generator, number: int) -> Samples:
        """That many sequences with their answers, a function of the state of `random`."""
        shape = (number, self.length // _GROUP)
        around, inside = random.integers(self.values, size=(2, *shape))
        values = np.stack([around, inside, around], axis=-1)
        answers = np.full_like(values, UNASKED)
        answers[..., 1] = around
        return samples([values.reshape(number, -1)], answers.reshape(number, -1))
