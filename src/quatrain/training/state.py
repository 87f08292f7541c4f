"""Where a training stands: everything that changes from step to step and is no tensor.

    TrainingState()                                            before the first step
    .advanced(total=8.0, weight=4.0, batches=1, seconds=0.5)   after a step
    .mean_loss, .rate                                     2.0 a token, 8.0 tokens a second
    .reported()                                           the next means begin here

It travels in the checkpoint, so that a resumed training writes the very lines of the log that an
unbroken one writes, even when the checkpoint fell between two of them.
"""

import math
from dataclasses import dataclass, replace
from typing import Annotated

from pydantic import Field

_Count = Annotated[int, Field(ge=0)]
_Sum = Annotated[float, Field(allow_inf_nan=False)]
_Amount = Annotated[float, Field(ge=0, allow_inf_nan=False)]


@dataclass(frozen=True, kw_only=True)
class TrainingState:
    """Progress of a training, and what has gathered since the last line of its log."""

    step: _Count = 0
    """Optimizer steps done."""
    batches: _Count = 0
    """Batches consumed, by all processes."""
    seconds: _Amount = 0.0
    """Time spent, over all sessions."""
    total: _Sum = 0.0
    """Sum of the loss since the last line."""
    weight: _Amount = 0.0
    """What the loss summed over since the last line."""
    since: _Amount = 0.0
    """The seconds at the last line, and what was spent since on anything but training."""
    waited: _Amount = 0.0
    """Seconds since the last line that this process waited for its data."""

    def advanced(
        self, *, total: float, weight: float, batches: int, seconds: float, waited: float = 0.0
    ) -> "TrainingState":
        """One step further; `seconds` is the time until now, `waited` the step's wait for data."""
        return replace(
            self,
            step=self.step + 1,
            batches=self.batches + batches,
            seconds=seconds,
            total=self.total + total,
            weight=self.weight + weight,
            waited=self.waited + waited,
        )

    def reported(self) -> "TrainingState":
        """The same place, with the means beginning anew."""
        return replace(self, total=0.0, weight=0.0, since=self.seconds, waited=0.0)

    def aside(self, seconds: float) -> "TrainingState":
        """The same place, `seconds` having gone into a validation: no part of the speed."""
        return replace(self, seconds=self.seconds + seconds, since=self.since + seconds)

    @property
    def mean_loss(self) -> float:
        """The loss a token (or whatever the weight counts) since the last line."""
        return self.total / self.weight if self.weight else math.nan

    @property
    def rate(self) -> float:
        """Weight a second since the last line."""
        elapsed = self.seconds - self.since
        return self.weight / elapsed if elapsed > 0 else 0.0

    @property
    def waiting(self) -> float:
        """The share of the time since the last line that went into waiting for data."""
        elapsed = self.seconds - self.since
        return self.waited / elapsed if elapsed > 0 else 0.0
