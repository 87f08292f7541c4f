"""Where each run of a study stands, from its folder alone: no study file, no torch."""

import json
from dataclasses import dataclass
from pathlib import Path

from quatrain.results import ResultStore


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
    failure = store.failure(identity)
    if state != "failed" or failure is None:
        return RunStatus(group, cell, seed, identity, state, last_step(store, identity), "", "")
    return RunStatus(
        group, cell, seed, identity, state, failure.step, failure.reason, failure.message
    )


def last_step(store: ResultStore, identity: str) -> int | None:
    """The step of the last whole line of metrics.jsonl, if there is one."""
    lines = _whole_lines(store.folder(identity) / "metrics.jsonl")
    if not lines:
        return None
    try:
        step = json.loads(lines[-1]).get("step")
    except (ValueError, AttributeError):
        return None
    return step if isinstance(step, int) else None


def _whole_lines(path: Path) -> list[str]:
    if not path.exists():
        return []
    # What follows the last end of line is still being written.
    return path.read_text(encoding="utf-8", errors="replace").split("\n")[:-1]
