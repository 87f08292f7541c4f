"""metrics.jsonl: one JSON object a line, by step, that a resumed run continues without a seam."""

import json
from pathlib import Path

from quatrain.results import write_atomically
from quatrain.results.files import unwritable

NAME = "metrics.jsonl"


class MetricsLog:
    """Appends lines to a run's log, after cutting off what a lost stretch of work had written.

    Raises:
        StudyError: here and in `write`, if the disk is full or the folder cannot be written.
    """

    def __init__(self, folder: Path, step: int) -> None:
        self._path = folder / NAME
        if not self._path.exists():
            return
        lines = self._path.read_text(encoding="utf-8", errors="replace").splitlines()
        write_atomically(self._path, "".join(f"{x}\n" for x in lines if _step(x) <= step))

    def write(self, step: int, **values: float) -> None:
        """Append one line."""
        line = json.dumps({"step": step, **values}) + "\n"
        try:
            with self._path.open("a", encoding="utf-8") as file:
                file.write(line)
        except OSError as error:
            raise unwritable(self._path.parent, error) from error


def _step(line: str) -> float:
    """The step of a line; a line that was cut short, or is no such line, is after all."""
    try:
        return float(json.loads(line)["step"])
    except (ValueError, TypeError, KeyError, OverflowError, RecursionError):
        return float("inf")
