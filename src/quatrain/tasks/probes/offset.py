"""Offset probe: each token asks for the value at a fixed distance.

    value    7  2  9  4  2  0  5  8
    answer   -  -  -  7  2  9  4  2        (distance = -3)

The distance is the same for all tokens, so E4 can answer, and E2 by a constant component of the
query; a convolution whose window reaches so far can, and a deformable one. Without positions a
network sees a bag: the best answer is the most common value.
"""

from typing import Literal

import numpy as np
from pydantic import model_validator

from quatrain.specs import SpecError
from quatrain.tasks.probes.question import IGNORE_INDEX, Question, Samples, make_samples


class OffsetSpec(Question):
    """What is the value at this distance from me?

    Example:
        >>> OffsetSpec(length=8).draw(np.random.default_rng(0), 1).answers
    """

    kind: Literal["offset"] = "offset"
    distance: int = -3
    """Position of the answer relative to the query, in tokens."""

    @model_validator(mode="after")
    def _check_distance(self) -> "OffsetSpec":
        if abs(self.distance) >= self.length:
            expected = f"less than the {self.length} tokens either way"
            raise SpecError("OffsetSpec.distance", self.distance, expected, "use a shorter one")
        return self

    @property
    def features(self) -> tuple[int, ...]:
        """Value."""
        return (self.values,)

    def draw(self, random: np.random.Generator, number: int) -> Samples:
        """Draw `number` sequences with their answers, as a function of the state of `random`."""
        values = random.integers(self.values, size=(number, self.length))
        positions = np.arange(self.length) + self.distance
        inside = (positions >= 0) & (positions < self.length)
        answers = values[:, positions.clip(0, self.length - 1)]
        return make_samples([values], np.where(inside, answers, IGNORE_INDEX))
