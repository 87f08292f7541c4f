"""What the runner and its workers say to each other: one JSON object per line.

    runner -> worker   {"identity": "6a...", "seed": 0, "retry": false}
    worker -> runner   {"kind": "progress", "identity": "6a...", "step": 40, "steps": 1000, ...}

Kinds: `started`; `progress`; `noted`, a note for the user; and, closing a run,
`done`, `failed`, `skipped` (its record was there already) or `held` (another process has it).
Lines are ASCII, and text in them is bounded, whatever a task says.
"""

import json
from dataclasses import asdict, dataclass
from typing import Any, Literal

from pydantic import TypeAdapter

from quatrain.results.text import storable

Kind = Literal["started", "progress", "noted", "done", "failed", "skipped", "held"]

TEXT_LIMIT = 10_000
"""Characters of a text in an event; of a longer one the middle is left out."""


@dataclass(frozen=True)
class Order:
    """Take this run. With `retry`, run it although it failed before."""

    identity: str
    seed: int
    retry: bool = False
    label: str | None = None
    """What the runner calls the run; a worker that calls it otherwise has read another study."""
    spec_code: str | None = None
    """The hash of the code of the run's own specs, where the runner has one."""

    def to_line(self) -> str:
        """One line of JSON, with its end of line."""
        return json.dumps(asdict(self)) + "\n"

    @classmethod
    def from_line(cls, line: str) -> "Order":
        """Read what `to_line` wrote."""
        return cls(**json.loads(line))


@dataclass(frozen=True, kw_only=True)
class Event:
    """Something that happened to a run; the numbers are those of the training's `Progress`."""

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
    outside: bool = False
    """Whether a failure's cause lies outside the run, where the next runs would meet it too."""

    def to_line(self) -> str:
        """One line of JSON, with its end of line.

        Raises:
            ValueError: if a field has not its type, so that `from_line` would refuse the line.
        """
        fields = {name: _bounded(value) for name, value in asdict(self).items()}
        return json.dumps(asdict(_EVENT.validate_python(fields))) + "\n"

    @classmethod
    def from_line(cls, line: str | bytes) -> "Event":
        """Read what `to_line` wrote; fields that this version does not know are left out.

        Raises:
            ValueError: if the line is no event.
        """
        try:
            return _EVENT.validate_python(json.loads(line))
        except (ValueError, RecursionError) as error:
            raise ValueError("the line is no event") from error

    @property
    def closes(self) -> bool:
        """Whether the worker is free again."""
        return self.kind not in {"started", "progress", "noted"}


_EVENT = TypeAdapter(Event)


def _bounded(value: Any) -> Any:
    return storable(value, TEXT_LIMIT) if isinstance(value, str) else value
