"""The limit of restarts of a worker that Slurm puts into its queue again and again.

Slurm counts the restarts of a job in SLURM_RESTART_COUNT. After 20 of them, a session that is
stopped ends the worker for good if it has advanced no run, such as one whose time limit is too
short for a first checkpoint. A run has advanced if it has ended or its checkpoint has changed.
"""

import os
from collections.abc import Sequence

from quatrain.results import CHECKPOINT, ResultStore
from quatrain.specs import StudyError
from quatrain.study.grid import Run

MOST_RESTARTS = 20
"""A worker that was started again more often must advance a run in each session."""

_HEAD = 2**16
"""Bytes at the start of a checkpoint, which contain its checksum."""


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

    def _progress(self) -> list[tuple[bool, bytes]]:
        """Whether each run has ended, and the start of its checkpoint."""
        return [(self._has_ended(run), self._head(run)) for run in self._runs]

    def _has_ended(self, run: Run) -> bool:
        folder = self._store.folder(run.identity)
        return any((folder / name).exists() for name in ("record.json", "failure.json"))

    def _head(self, run: Run) -> bytes:
        try:
            with (self._store.files(run.identity) / CHECKPOINT).open("rb") as file:
                return file.read(_HEAD)
        except OSError:
            return b""
