"""Training state: the counters that change from step to step.

    TrainingState()                                             before the first step
    .after_step(total=8.0, weight=4.0, batches=1, seconds=0.5)
    .mean_loss, .rate                                           2.0 a token, 8.0 tokens a second
    .after_report()                                             restarts both means

Checkpoints hold it, so that a resumed training writes the same log lines as an uninterrupted one,
even if the checkpoint lies between two lines.
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
    """Counters of a training, and sums since its last log line."""

    step: _Count = 0
    """Optimizer steps done."""
    batches: _Count = 0
    """Batches consumed, by all processes."""
    seconds: _Amount = 0.0
    """Time spent, over all sessions."""
    total: _Sum = 0.0
    """Sum of the loss since the last log line."""
    weight: _Amount = 0.0
    """Sum of the loss weights (such as tokens) since the last log line."""
    since: _Amount = 0.0
    """`seconds` at the last log line, plus the time of validations since."""
    waited: _Amount = 0.0
    """Seconds that this process has waited for data since the last log line."""

    def after_step(
        self, *, total: float, weight: float, batches: int, seconds: float, waited: float = 0.0
    ) -> "TrainingState":
        """Add a step; `seconds` is the time since the start, `waited` the step's wait for data."""
        return replace(
            self,
            step=self.step + 1,
            batches=self.batches + batches,
            seconds=seconds,
            total=self.total + total,
            weight=self.weight + weight,
            waited=self.waited + waited,
        )

    def after_report(self) -> "TrainingState":
        """Restart the means."""
        return replace(self, total=0.0, weight=0.0, since=self.seconds, waited=0.0)

    def after_validation(self, seconds: float) -> "TrainingState":
        """Add the time of a validation, which does not count for the rate."""
        return replace(self, seconds=self.seconds + seconds, since=self.since + seconds)

    @property
    def mean_loss(self) -> float:
        """Loss divided by weight since the last log line, such as the loss a token."""
        return self.total / self.weight if self.weight else math.nan

    @property
    def rate(self) -> float:
        """Weight a second since the last log line, such as tokens a second."""
        elapsed = self.seconds - self.since
        return self.weight / elapsed if elapsed > 0 else 0.0

    @property
    def waiting(self) -> float:
        """Share of the time since the last log line spent waiting for data."""
        elapsed = self.seconds - self.since
        return self.waited / elapsed if elapsed > 0 else 0.0
