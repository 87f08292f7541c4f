"""Where each run of a study stands, from its folder alone: no study file, no torch."""

import json
import os
from dataclasses import dataclass
from pathlib import Path

from quatrain.results import ResultStore

_LONGEST_LINE = 2**16
_MOST_STEPS = 2**53


@dataclass(frozen=True)
class RunStatus:
    """One run of one cell."""

    group: str
    cell: str
    seed: int
    identity: str
    state: str
    step: int | None
    """The last step that a log or a failure tells of."""
    reason: str
    message: str


def study_status(store: ResultStore) -> list[RunStatus]:
    """Every cell and seed of the manifest, in its order.

    Raises:
        StudyError: if no study was run into this folder.
        StoredFileError: if the manifest or a failure is damaged.
    """
    return [
        _status(store, cell.group, cell.name, seed, identity)
        for cell in store.manifest().cells
        for seed, identity in sorted(cell.identities.items())
    ]


def _status(store: ResultStore, group: str, cell: str, seed: int, identity: str) -> RunStatus:
    state = store.state(identity).value
    failure = store.failure(identity) if state == "failed" else None
    if failure is None:
        return RunStatus(group, cell, seed, identity, state, last_step(store, identity), "", "")
    return RunStatus(
        group, cell, seed, identity, state, failure.step, failure.reason, failure.message
    )


def last_step(store: ResultStore, identity: str) -> int | None:
    """The step of the last whole line of metrics.jsonl, if there is one and it says a step."""
    line = _last_whole_line(store.folder(identity) / "metrics.jsonl")
    try:
        step = json.loads(line).get("step")
    except (ValueError, AttributeError, RecursionError):
        return None
    return step if type(step) is int and 0 <= step <= _MOST_STEPS else None


def _last_whole_line(path: Path) -> bytes:
    """What follows the last end of line is still being written; lines are short."""
    try:
        with path.open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - _LONGEST_LINE))
            lines = file.read().split(b"\n")
    except OSError:
        return b""
    return lines[-2] if len(lines) > 1 else b""
