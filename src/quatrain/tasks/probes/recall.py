"""Recall probe: each token has a name and a value, and asks for the value of another name.

    name     c  a  e  f  b  d
    value    7  2  9  4  2  0
    query    b  d  d  c  a  a              (far = 3: the named token is at least 3 away)
    answer   2  0  0  7  2  2

The content of the query must be compared with that of each key, which only E1 does. The position of
a name is random, so positions do not help, and E3 gives the same weights to all queries. A gate and
a window could bind name and value of near tokens, so the named token is outside of the window.
"""

from typing import Literal

import numpy as np
from pydantic import Field, model_validator

from quatrain.tasks.probes.question import Question, Samples, check_far, make_samples


class RecallSpec(Question):
    """What is the value of the token of this name?

    Example:
        >>> RecallSpec(length=8, far=3).draw(np.random.default_rng(0), 1).answers
    """

    kind: Literal["recall"] = "recall"
    far: int = Field(default=5, ge=1)
    """Smallest distance between a token and the one whose value it asks for."""

    @model_validator(mode="after")
    def _check_far(self) -> "RecallSpec":
        check_far("RecallSpec.far", self.far, self.length)
        return self

    @property
    def features(self) -> tuple[int, ...]:
        """Value, own name, name of the query."""
        return self.values, self.length, self.length

    def draw(self, random: np.random.Generator, number: int) -> Samples:
        """Draw `number` sequences with their answers, as a function of the state of `random`."""
        shape = (number, self.length)
        values = random.integers(self.values, size=shape)
        names = random.permuted(np.tile(np.arange(self.length), (number, 1)), axis=1)
        positions = np.arange(self.length)
        allowed = np.abs(positions[:, None] - positions) >= self.far
        targets = np.where(allowed, random.random((*shape, self.length)), -1.0).argmax(-1)
        queries = np.take_along_axis(names, targets, axis=1)
        answers = np.take_along_axis(values, targets, axis=1)
        return make_samples([values, names, queries], answers)
