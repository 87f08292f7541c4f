"""metrics.jsonl, one JSON object per line, ordered by step, and the counters behind its lines.

    TrainingState()                                             before the first step
    .after_step(total=8.0, weight=4.0, batches=1, seconds=0.5)
    .mean_loss, .rate                                           2.0 a token, 8.0 tokens a second
    .after_report()                                             restarts both means

Checkpoints contain the state, so that a resumed training writes the same log lines as an
uninterrupted one, even if the checkpoint lies between two lines.
"""

import json
import math
from dataclasses import dataclass, replace
from pathlib import Path

from quatrain.results import write_atomically
from quatrain.results.files import read_regular, write_error

NAME = "metrics.jsonl"
_LARGEST = 2**30
"""Most bytes of a log: some million lines."""


@dataclass(frozen=True, kw_only=True)
class TrainingState:
    """Counters of a training, and sums since its last log line."""

    step: int = 0
    """Optimizer steps done."""
    batches: int = 0
    """Batches consumed, by all processes."""
    seconds: float = 0.0
    """Time spent, over all sessions."""
    total: float = 0.0
    """Sum of the loss since the last log line."""
    weight: float = 0.0
    """Sum of the loss weights (such as tokens) since the last log line."""
    since: float = 0.0
    """`seconds` at the last log line, plus the time of validations since."""
    waited: float = 0.0
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


class MetricsLog:
    """The log of a run, without the lines after `step`, which a resumed training writes again.

    Raises a StoredFileError if the log cannot be read, a StudyError if it cannot be written.
    """

    def __init__(self, folder: Path, step: int) -> None:
        self._path = folder / NAME
        content = read_regular(self._path, "move it away", _LARGEST)
        if content is None:
            return
        lines = content.decode(errors="replace").splitlines()
        write_atomically(self._path, "".join(f"{x}\n" for x in lines if _step(x) <= step))

    def write(self, step: int, **values: float) -> None:
        """Append one line."""
        line = json.dumps({"step": step, **values}) + "\n"
        try:
            with self._path.open("a", encoding="utf-8") as file:
                file.write(line)
        except OSError as error:
            raise write_error(self._path.parent, error) from error


def _step(line: str) -> float:
    """The step of a line; infinity for a damaged line."""
    try:
        return float(json.loads(line)["step"])
    except (ValueError, TypeError, KeyError, OverflowError, RecursionError):
        return float("inf")
