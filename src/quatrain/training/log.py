"""metrics.jsonl: one JSON object per line, ordered by step."""

import json
from pathlib import Path

from quatrain.results import write_atomically
from quatrain.results.files import read_regular, write_error

NAME = "metrics.jsonl"
_LARGEST = 2**30
"""Most bytes of a log: some million lines."""


class MetricsLog:
    """The log of a run, without the lines after `step`, which a resumed training writes again.

    Raises:
        StoredFileError: if the log is not a regular file or cannot be read.
        StudyError: here and in `write`, if the disk is full or the folder cannot be written.
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
