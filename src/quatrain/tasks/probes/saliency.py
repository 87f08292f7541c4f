"""Saliency: one token is marked, and all others ask for its value.

    value    7  2  9  4  2  0  5  8
    mark     .  .  .  .  .  *  .  .
    answer   0  0  0  -  -  -  -  -        (far = 3: who stands nearer is not asked)

Which key answers depends on the key's content alone: E3. E1 does as well, since a constant
component of the query makes its logits those of E3; so does every set that holds either. Value
and mark are embedded apart and added, so nothing that is linear in the content can bind them: a
mean, or weights by position (E2, E4), gives the sum of all values beside the sum of all marks.
Only tokens out of reach of a convolution's window are asked, so a gate before it is of no use.

The mark keeps away from both ends: attention over a convolution may learn to look at the place
from which one tap sees the mark, and that place exists for every mark.
"""

from typing import Literal

import numpy as np
from pydantic import Field, model_validator

from quatrain.tasks.probes.sample import UNASKED, Question, Samples, check_far, samples


class SaliencySpec(Question):
    """What is the value of the marked token?

    Example:
        >>> SaliencySpec(length=8, far=3).draw(np.random.default_rng(0), 1).answers
    """

    kind: Literal["saliency"] = "saliency"
    far: int = Field(default=5, ge=1)
    """Least distance of a token that is asked to the marked one."""

    @model_validator(mode="after")
    def _asks_somebody(self) -> "SaliencySpec":
        check_far("SaliencySpec.far", self.far, self.length)
        return self

    @property
    def features(self) -> tuple[int, ...]:
        """Value, and mark or none."""
        return self.values, 2

    def draw(self, random: np.random.Generator, number: int) -> Samples:
        """That many sequences with their answers, a function of the state of `random`."""
        values = random.integers(self.values, size=(number, self.length))
        margin = self.far - 1
        marked = random.integers(margin, self.length - margin, size=(number, 1))
        places = np.arange(self.length)
        answers = np.take_along_axis(values, marked, axis=1)
        asked = np.abs(places - marked) >= self.far
        return samples([values, places == marked], np.where(asked, answers, UNASKED))
