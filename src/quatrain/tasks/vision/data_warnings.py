"""What is not as it should be in data and yet no reason to stop: counted, and said once.

tally.add("boxes without area, left out", "annotation 17")      and again for 96
tally.warn("train")
    ->  train: 2 boxes without area, left out (the first is annotation 17)
tally.add("pixels ignored, 14.1 % of all", times=1152)          of which there is no first case
"""

import hashlib
import json
import warnings
from collections.abc import Sequence

_SHOWN = 8


class DataWarning(UserWarning):
    """Something in the user's data was left out or changed, and how often."""


def listed(names: Sequence[str]) -> str:
    """Names in quotes, of many the first eight and the number of the others.

    Example:
        >>> listed(["sky", "road"])
        '"sky", "road"'
    """
    shown = ", ".join(f'"{name}"' for name in names[:_SHOWN])
    return f"{shown} and {len(names) - _SHOWN:,} more" if len(names) > _SHOWN else shown


def listed_uniquely(names: Sequence[str]) -> str:
    """As `listed`, and where names are left out, the beginning of a hash of all of them."""
    if len(names) <= _SHOWN:
        return listed(names)
    digest = hashlib.sha256(json.dumps(list(names)).encode()).hexdigest()
    return f"{listed(names)} (SHA-256 {digest[:8]})"


class Tally:
    """Counts by kind, with the first case of each."""

    def __init__(self) -> None:
        self._cases: dict[str, tuple[int, str | None]] = {}

    def add(self, kind: str, case: str | None = None, times: int = 1) -> None:
        """Count `times` more of this kind; `case` is shown if it is the first."""
        if times:
            before, first = self._cases.get(kind, (0, case))
            self._cases[kind] = (before + times, first)

    def warn(self, part: str) -> dict[str, int]:
        """Warn of each kind once, and return the counts as "part: kind"."""
        for kind, (times, first) in self._cases.items():
            where = "" if first is None else f" (the first is {first})"
            message = f"{part}: {times:,} {kind}{where}"
            warnings.warn(message, DataWarning, stacklevel=2)
        return {f"{part}: {kind}": times for kind, (times, _) in self._cases.items()}
