"""Counted warnings about a data set: one for each kind of problem, with its first case.

problems = DataWarnings()
problems.add("boxes without area, left out", "annotation 17", count=2)
problems.warn("train")
    ->  train: 2 boxes without area, left out (the first is annotation 17)

The counts are also returned, for the record.
"""

import hashlib
import json
import warnings
from collections.abc import Sequence

_LISTED = 8
_SINGULAR = {
    "boxes": "box",
    "categories": "category",
    "classes": "class",
    "files": "file",
    "images": "image",
    "labels": "label",
    "pixels": "pixel",
}


class DataWarning(UserWarning):
    """Part of the user's data was left out, was changed or looks wrong."""


class DataWarnings:
    """Counts of problems by kind, with the first case of each."""

    def __init__(self) -> None:
        self._cases: dict[str, tuple[int, str | None]] = {}

    def add(self, kind: str, case: str | None = None, count: int = 1) -> None:
        """Add `count` cases of a kind, which begins with a noun in the plural."""
        if count:
            previous, first = self._cases.get(kind, (0, case))
            self._cases[kind] = (previous + count, first)

    def warn(self, part: str) -> dict[str, int]:
        """Issue one warning for each kind, and return the counts by "part: kind"."""
        for kind, (count, first) in self._cases.items():
            noun, _, problem = kind.partition(" ")
            noun = _SINGULAR.get(noun, noun) if count == 1 else noun
            example = "" if first is None else f" (the first is {first})"
            message = f"{part}: {count:,} {noun} {problem}{example}"
            warnings.warn(message, DataWarning, stacklevel=2)
        return {f"{part}: {kind}": count for kind, (count, _) in self._cases.items()}


def format_names(names: Sequence[str], *, with_hash: bool = False) -> str:
    """Names in quotes; of more than eight, the first eight and the number of the others.

    With `with_hash`, a shortened list ends with a hash of all names, so that it stays unique.

    Example:
        >>> format_names(["sky", "road"])
        '"sky", "road"'
    """
    text = ", ".join(f'"{name}"' for name in names[:_LISTED])
    if len(names) <= _LISTED:
        return text
    text = f"{text} and {len(names) - _LISTED:,} more"
    digest = hashlib.sha256(json.dumps(list(names)).encode()).hexdigest()
    return f"{text} (SHA-256 {digest[:8]})" if with_hash else text
