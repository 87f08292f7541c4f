"""Offset: each token asks for the value at one fixed distance.

    value    7  2  9  4  2  0  5  8
    answer   -  -  -  7  2  9  4  2        (distance = -3)

The distance is the same for all, so E4 answers, and E2 does by a constant component of the query;
a convolution answers if its window reaches so far, a deformable one too. Without position a
network sees a bag: the best it can do is to name the commonest value.
"""

from typing import Literal

import numpy as np
from pydantic import model_validator

from quatrain.specs import SpecError
from quatrain.tasks.probes.sample import UNASKED, Question, Samples, samples


class OffsetSpec(Question):
    """What is the value at this distance from me?

    Example:
        >>> OffsetSpec(length=8).draw(np.random.default_rng(0), 1).answers
    """

    kind: Literal["offset"] = "offset"
    distance: int = -3
    """Where the answer stands, in tokens after the one that asks."""

    @model_validator(mode="after")
    def _stays_inside(self) -> "OffsetSpec":
        if abs(self.distance) >= self.length:
            expected = f"less than the {self.length} tokens either way"
            raise SpecError("OffsetSpec.distance", self.distance, expected, "ask for a nearer one")
        return self

    @property
    def features(self) -> tuple[int, ...]:
        """The value."""
        return (self.values,)

    def draw(self, random: np.random.Generator, number: int) -> Samples:
        """That many sequences with their answers, a function of the state of `random`."""
        values = random.integers(self.values, size=(number, self.length))
        at = np.arange(self.length) + self.distance
        there = (at >= 0) & (at < self.length)
        answers = values[:, at.clip(0, self.length - 1)]
        return samples([values], np.where(there, answers, UNASKED))
