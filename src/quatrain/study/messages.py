"""What the runner and its workers say to each other: one JSON object per line.

    runner -> worker   {"identity": "6a...", "seed": 0, "retry": false}
    worker -> runner   {"kind": "progress", "identity": "6a...", "step": 40, "steps": 1000, ...}

Kinds: `started`; `progress`; `noted`, what whoever runs the study should know; and, closing a run,
`done`, `failed`, `skipped` (its record was there already) or `held` (another process has it).
"""

import json
from dataclasses import asdict, dataclass
from typing import Literal

Kind = Literal["started", "progress", "noted", "done", "failed", "skipped", "held"]


@dataclass(frozen=True)
class Order:
    """Take this run. With `retry`, run it although it failed before."""

    identity: str
    seed: int
    retry: bool = False
    label: str | None = None
    """What the runner calls the run; a worker that calls it otherwise has read another study."""

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
        """One line of JSON, with its end of line."""
        return json.dumps(asdict(self)) + "\n"

    @classmethod
    def from_line(cls, line: str) -> "Event":
        """Read what `to_line` wrote."""
        return cls(**json.loads(line))

    @property
    def closes(self) -> bool:
        """Whether the worker is free again."""
        return self.kind not in {"started", "progress", "noted"}
