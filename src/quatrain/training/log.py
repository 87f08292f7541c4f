"""metrics.jsonl: one JSON object a line, by step, that a resumed run continues without a seam."""

import json
import os
from pathlib import Path

NAME = "metrics.jsonl"


class MetricsLog:
    """Appends lines to a run's log, after cutting off what a lost stretch of work had written."""

    def __init__(self, folder: Path, step: int) -> None:
        self._path = folder / NAME
        if not self._path.exists():
            return
        kept = [line for line in self._lines() if json.loads(line)["step"] <= step]
        fresh = folder / f".{NAME}.{os.getpid()}"
        fresh.write_text("".join(f"{line}\n" for line in kept))
        fresh.replace(self._path)

    def write(self, step: int, **values: float) -> None:
        """Append one line."""
        with self._path.open("a") as file:
            file.write(json.dumps({"step": step, **values}) + "\n")

    def _lines(self) -> list[str]:
        return [line for line in self._path.read_text().splitlines() if _whole(line)]


def _whole(line: str) -> bool:
    try:
        json.loads(line)
    except json.JSONDecodeError:
        return False
    return True
