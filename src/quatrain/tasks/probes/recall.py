"""Recall: each token has a name and a value, and asks for the value of another name.

    name     c  a  e  f  b  d
    value    7  2  9  4  2  0
    asks     b  d  d  c  a  a              (far = 3: whom it asks stands at least 3 away)
    answer   2  0  0  7  2  2

The query's content must be compared with each key's: E1 alone. Where the name stands is drawn
anew each time, so no position helps, and what all queries see alike (E3) cannot tell them apart.
A gate and a window could bind name and value nearby, so whom a token asks is out of its reach.
"""

from typing import Literal

import numpy as np
from pydantic import Field, model_validator

from quatrain.tasks.probes.sample import Question, Samples, check_far, samples


class RecallSpec(Question):
    """What is the value of the token of this name?

    Example:
        >>> RecallSpec(length=8, far=3).draw(np.random.default_rng(0), 1).answers
    """

    kind: Literal["recall"] = "recall"
    far: int = Field(default=5, ge=1)
    """Least distance of a token to the one that it asks."""

    @model_validator(mode="after")
    def _has_whom_to_ask(self) -> "RecallSpec":
        check_far("RecallSpec.far", self.far, self.length)
        return self

    @property
    def features(self) -> tuple[int, ...]:
        """Value, own name, and the name that is asked."""
        return self.values, self.length, self.length

    def draw(self, random: np.random.Generator, number: int) -> Samples:
        """That many sequences with their answers, a function of the state of `random`."""
        shape = (number, self.length)
        values = random.integers(self.values, size=shape)
        names = random.permuted(np.tile(np.arange(self.length), (number, 1)), axis=1)
        places = np.arange(self.length)
        distant = np.abs(places[:, None] - places) >= self.far
        at = np.where(distant, random.random((*shape, self.length)), -1.0).argmax(-1)
        asked = np.take_along_axis(names, at, axis=1)
        return samples([values, names, asked], np.take_along_axis(values, at, axis=1))
