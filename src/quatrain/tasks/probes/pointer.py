"""Pointer probe: each token has a pointer, the distance of the value that it asks for.

    value    7  2  9  4  2  0  5  8
    pointer +2 +1 -2 +4 -1 -3 +1 -4
    answer   9  9  7  8  4  9  8  4        (reach = 4; no question if the pointer leads outside)

The weights must depend on the query and select a position: E2, a dynamic convolution within its
window, a deformable one that displaces its taps. If the weights do not depend on the query (E3, E4,
regular and lightweight convolution), the score of every class is a sum over tokens of functions of
each token alone, and pointer and value are in different tokens. Such a mechanism can only use one
distance for all tokens, which is correct once in 2 * reach times. E1 sees the pointer, but no
distance.
"""

from typing import Literal

import numpy as np
from pydantic import Field, model_validator

from quatrain.specs import SpecError
from quatrain.tasks.probes.question import IGNORE_INDEX, Question, Samples, make_samples


class PointerSpec(Question):
    """What is the value where I point?

    Example:
        >>> PointerSpec(length=8).draw(np.random.default_rng(0), 1).answers
    """

    kind: Literal["pointer"] = "pointer"
    reach: int = Field(default=4, ge=1)
    """Largest distance of a pointer, before and after its token; never 0."""

    @model_validator(mode="after")
    def _check_reach(self) -> "PointerSpec":
        if self.reach >= self.length:
            expected = f"less than the {self.length} tokens"
            raise SpecError("PointerSpec.reach", self.reach, expected, "use a shorter one")
        return self

    @property
    def features(self) -> tuple[int, ...]:
        """Value; pointer: -reach .. -1 and 1 .. reach, numbered from 0."""
        return self.values, 2 * self.reach

    def draw(self, random: np.random.Generator, number: int) -> Samples:
        """Draw `number` sequences with their answers, as a function of the state of `random`."""
        values = random.integers(self.values, size=(number, self.length))
        pointers = random.integers(2 * self.reach, size=values.shape)
        distances = pointers - self.reach + (pointers >= self.reach)
        positions = np.arange(self.length) + distances
        inside = (positions >= 0) & (positions < self.length)
        answers = np.take_along_axis(values, positions.clip(0, self.length - 1), axis=1)
        return make_samples([values, pointers], np.where(inside, answers, IGNORE_INDEX))
