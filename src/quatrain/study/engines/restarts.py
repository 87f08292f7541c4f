"""The limit of restarts of a worker that Slurm puts into its queue again and again.

Slurm counts the restarts of a job in SLURM_RESTART_COUNT. After 20 of them, a session that is
stopped ends the worker for good if it has advanced no run, such as one whose time limit is too
short for a first checkpoint. A run has advanced if it has ended or its files have changed, such as
a checkpoint; its log and the list of its sessions, which change in each session, do not count.
"""

import hashlib
import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from quatrain.results import ResultStore
from quatrain.results.files import OLD_SESSIONS, SESSIONS
from quatrain.specs import StudyError
from quatrain.study.grid import Run

MOST_RESTARTS = 20
"""A worker that was started again more often must advance a run in each session."""

_PART = 2**16
"""Bytes at the start and at the end of a file, which differ between checkpoints."""

_OF_A_SESSION = {"metrics.jsonl", SESSIONS, OLD_SESSIONS, "attempts", "spec.json", "lock"}
"""Files and folders that change in each session, or belong to no attempt."""


class RestartLimit:
    """Compares the runs at the end of a session with those at its start."""

    def __init__(self, store: ResultStore, runs: Sequence[Run]) -> None:
        """Read the state of `runs`, if the worker was restarted that often."""
        self._store, self._runs = store, runs
        text = os.environ.get("SLURM_RESTART_COUNT", "")
        self._restarts = int(text) if text.isdecimal() else 0
        self._before = self._progress() if self._restarts >= MOST_RESTARTS else None

    def check(self) -> None:
        """Check that a worker that was stopped may be started again.

        Raises:
            StudyError: if it was restarted often, and this session has advanced no run.
        """
        if self._before is not None and self._before == self._progress():
            raise StudyError(
                f"the worker was restarted {self._restarts} times, and its last session has "
                "advanced no run; request more time, such as --slurm time=8:00:00, or lower "
                "`checkpoint_every` of the recipe, and submit again",
                "SLURM_RESTART_COUNT",
            )

    def _progress(self) -> list[tuple[bool, dict[str, bytes]]]:
        """Whether each run has ended, and the hashes of its files."""
        return [
            (self._has_ended(run), _hashes(self._store.files(run.identity))) for run in self._runs
        ]

    def _has_ended(self, run: Run) -> bool:
        folder = self._store.folder(run.identity)
        return any((folder / name).exists() for name in ("record.json", "failure.json"))


def _hashes(folder: Path) -> dict[str, bytes]:
    """By path, a hash of the start and the end of each file of an attempt."""
    paths: list[Path] = []
    for root, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if name not in _OF_A_SESSION]
        paths += [Path(root, name) for name in names if name not in _OF_A_SESSION]
    files = [path for path in paths if path.suffix != ".tmp" and path.is_file()]  # no pipe
    hashes = {str(path.relative_to(folder)): _hash(path) for path in files}
    return {name: value for name, value in hashes.items() if value is not None}


def _hash(path: Path) -> bytes | None:
    """None for a file that cannot be read, such as one that was just removed."""
    with suppress(OSError), path.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(0)
        start = file.read(_PART)
        file.seek(max(0, size - _PART))
        return hashlib.sha256(b"%d " % size + start + file.read(_PART)).digest()
