"""Messages between the runner and its workers: one JSON object per line.

    runner -> worker   {"identity": "6a...", "seed": 0, "retry": false}
    worker -> runner   {"kind": "progress", "identity": "6a...", "step": 40, "steps": 1000, ...}

Kinds of events: `started`; `progress`; `note`, a message for the user; and, as the last one of a
run, `done`, `failed`, `paused` (the worker was asked to stop), `skipped` (its record exists) or
`locked` (another process executes it).
Lines are ASCII, and the length of texts is limited.

A rank, one of several processes that train a run, sends objects to its worker: `Progress` of the
training, and as the last one `Trained`, `Paused` or `Failed`.
"""

import json
from dataclasses import asdict, dataclass
from typing import Any, Literal

from pydantic import TypeAdapter

from quatrain.results.record import Reason, storable

Kind = Literal["started", "progress", "note", "done", "failed", "paused", "skipped", "locked"]

TEXT_LIMIT = 10_000
"""Characters of a text in an event; the middle of a longer text is left out."""


@dataclass(frozen=True)
class Order:
    """Execute this run; with `retry` also if it failed before."""

    identity: str
    seed: int
    retry: bool = False
    label: str | None = None
    """The label that the runner gives the run; a worker with another label read another study."""
    spec_code: str | None = None
    """The hash of the code of the run's own specs; None if the study defines none."""

    def to_line(self) -> str:
        """One line of JSON, with its end of line."""
        return json.dumps(asdict(self)) + "\n"

    @classmethod
    def from_line(cls, line: str) -> "Order":
        """Read the output of `to_line`."""
        return cls(**json.loads(line))


@dataclass(frozen=True, kw_only=True)
class Event:
    """The state of a run; numbers are those of the training's `Progress`."""

    kind: Kind
    identity: str
    label: str = ""
    worker: int = 0
    step: int = 0
    steps: int = 0
    loss: float | None = None
    rate: float = 0.0
    rate_unit: str = ""
    seconds_left: float | None = None
    text: str = ""
    reason: str = ""
    message: str = ""
    external: bool = False
    """Whether the cause of a failure is external to the run, so that others would fail too."""

    def to_line(self) -> str:
        """One line of JSON, with its end of line.

        Raises:
            ValueError: if a field has the wrong type, so that `from_line` would refuse the line.
        """
        fields = {name: _shortened(value) for name, value in asdict(self).items()}
        return json.dumps(asdict(_EVENT.validate_python(fields))) + "\n"

    @classmethod
    def from_line(cls, line: str | bytes) -> "Event":
        """Read the output of `to_line`; fields that this version does not know are ignored.

        Raises:
            ValueError: if the line is no event.
        """
        try:
            return _EVENT.validate_python(json.loads(line))
        except (ValueError, RecursionError) as error:
            raise ValueError("the line is no event") from error

    @property
    def is_final(self) -> bool:
        """Whether it is the last event of a run, after which its worker is idle."""
        return self.kind not in {"started", "progress", "note"}


@dataclass(frozen=True, kw_only=True)
class Description:
    """An exception in words, which another process can store."""

    reason: Reason
    message: str
    traceback: str = ""
    external: bool = False
    """Whether the cause is external to the run, so that others would fail too."""
    is_stored: bool = True
    """Whether failure.json is written, after which the run is repeated only on request."""


@dataclass(frozen=True)
class Trained:
    """The training has reached its last step; the fields are those of its `TrainingResult`."""

    steps: int
    seconds: float
    notes: tuple[str, ...]
    session_seconds: float | None


@dataclass(frozen=True)
class Paused:
    """The training has stopped before its last step, with a checkpoint."""


@dataclass(frozen=True)
class Failed:
    """The rank has failed; it stays until it is killed, so that the others do not fail too."""

    described: Description


Message = Trained | Paused | Failed
"""The last message of a rank."""

_EVENT = TypeAdapter(Event)


def _shortened(value: Any) -> Any:
    return storable(value, TEXT_LIMIT) if isinstance(value, str) else value
