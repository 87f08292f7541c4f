"""State of each run of a study, from its folder alone: without the study file and torch."""

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from quatrain.results import ResultStore, RunState

_LONGEST_LINE = 2**16
_LARGEST_STEP = 2**53


@dataclass(frozen=True)
class RunStatus:
    """State of one run of one cell."""

    group: str
    cell: str
    seed: int
    identity: str
    state: str
    step: int | None
    """The last step in the log or in the failure."""
    reason: str
    message: str


def study_status(store: ResultStore) -> list[RunStatus]:
    """The status of every cell and seed of the manifest, in its order."""
    rows: list[RunStatus] = []
    for cell in store.manifest().cells:
        for seed, identity in sorted(cell.identities.items()):
            state = store.state(identity)
            failure = store.failure(identity) if state is RunState.FAILED else None
            if failure is None:
                end = last_step(store, identity), "", ""
            else:
                end = failure.step, failure.reason, failure.message
            rows.append(RunStatus(cell.group, cell.name, seed, identity, state.value, *end))
    return rows


def last_step(store: ResultStore, identity: str) -> int | None:
    """The step of the last complete line of metrics.jsonl; None if it has none."""
    step = last_values(store, identity).get("step")
    return step if type(step) is int and 0 <= step <= _LARGEST_STEP else None


def last_values(store: ResultStore, identity: str) -> dict[str, Any]:
    """The last complete line of metrics.jsonl; empty if there is none or it is damaged."""
    line = _last_line(store.files(identity) / "metrics.jsonl")
    try:
        values = json.loads(line)
    except (ValueError, RecursionError):
        return {}
    return values if isinstance(values, dict) else {}


def _last_line(path: Path) -> bytes:
    """The last complete line; text after the last end of line is still being written."""
    try:
        with path.open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - _LONGEST_LINE))
            lines = file.read().split(b"\n")
    except OSError:
        return b""
    return lines[-2] if len(lines) > 1 else b""
