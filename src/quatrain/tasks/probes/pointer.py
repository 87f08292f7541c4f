"""Pointer: each token says how far away the value stands that it asks for.

    value    7  2  9  4  2  0  5  8
    pointer +2 +1 -2 +4 -1 -3 +1 -4
    answer   9  9  7  8  4  9  8  4        (reach = 4; a pointer that leaves is not asked)

The weights must change with the query and fall on a place: E2, a dynamic convolution within its
window, a deformable one that displaces its taps. Where the weights cannot depend on the query
(E3, E4, regular and lightweight convolution), every class is scored by a sum over tokens of what
each holds on its own, and pointer and value stand in different tokens: what is left is to read
one distance always, right once in 2 * reach times. E1 sees the pointer, but no distance.
"""

from typing import Literal

import numpy as np
from pydantic import Field, model_validator

from quatrain.specs import SpecError
from quatrain.tasks.probes.sample import UNASKED, Question, Samples, samples


class PointerSpec(Question):
    """What is the value where I point?

    Example:
        >>> PointerSpec(length=8).draw(np.random.default_rng(0), 1).answers
    """

    kind: Literal["pointer"] = "pointer"
    reach: int = Field(default=4, ge=1)
    """The farthest that a token points, before and after itself; never at itself."""

    @model_validator(mode="after")
    def _stays_inside(self) -> "PointerSpec":
        if self.reach >= self.length:
            expected = f"less than the {self.length} tokens"
            raise SpecError("PointerSpec.reach", self.reach, expected, "point less far")
        return self

    @property
    def features(self) -> tuple[int, ...]:
        """Value, and pointer: -reach .. -1 and 1 .. reach, numbered from 0."""
        return self.values, 2 * self.reach

    def draw(self, random: np.random.Generator, number: int) -> Samples:
        """That many sequences with their answers, a function of the state of `random`."""
        values = random.integers(self.values, size=(number, self.length))
        pointers = random.integers(2 * self.reach, size=values.shape)
        distances = pointers - self.reach + (pointers >= self.reach)
        at = np.arange(self.length) + distances
        there = (at >= 0) & (at < self.length)
        answers = np.take_along_axis(values, at.clip(0, self.length - 1), axis=1)
        return samples([values, pointers], np.where(there, answers, UNASKED))
