"""Saliency probe: one token is marked, and the others ask for its value.

    value    7  2  9  4  2  0  5  8
    mark     .  .  .  .  .  *  .  .
    answer   0  0  0  -  -  -  -  -        (far = 3: nearer tokens have no question)

The weights depend on the content of the keys alone: E3. E1 can answer too, because a constant
component of the query makes its logits those of E3; so can every term set with either. The
embeddings of value and mark are added, so nothing that is linear in the content can bind them: a
mean, or weights by position (E2, E4), gives the sum of all values and the sum of all marks. Only
tokens outside of a convolution's window have a question, so a gate before it does not help.

The mark is never near the ends: attention over a convolution could learn the position from which
one tap sees the mark, and that position must exist for every mark.
"""

from typing import Literal

import numpy as np
from pydantic import Field, model_validator

from quatrain.tasks.probes.question import (
    IGNORE_INDEX,
    Question,
    Samples,
    check_far,
    make_samples,
)


class SaliencySpec(Question):
    """What is the value of the marked token?

    Example:
        >>> SaliencySpec(length=8, far=3).draw(np.random.default_rng(0), 1).answers
    """

    kind: Literal["saliency"] = "saliency"
    far: int = Field(default=5, ge=1)
    """Smallest distance between the marked token and one with a question."""

    @model_validator(mode="after")
    def _check_far(self) -> "SaliencySpec":
        check_far("SaliencySpec.far", self.far, self.length)
        return self

    @property
    def features(self) -> tuple[int, ...]:
        """Value, mark (0 or 1)."""
        return self.values, 2

    def draw(self, random: np.random.Generator, number: int) -> Samples:
        """Draw `number` sequences with their answers, as a function of the state of `random`."""
        values = random.integers(self.values, size=(number, self.length))
        margin = self.far - 1
        marks = random.integers(margin, self.length - margin, size=(number, 1))
        positions = np.arange(self.length)
        answers = np.take_along_axis(values, marks, axis=1)
        far = np.abs(positions - marks) >= self.far
        return make_samples([values, positions == marks], np.where(far, answers, IGNORE_INDEX))
