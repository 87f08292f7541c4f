"""The notes of a report, each of a kind: limits of data, code, machines and comparisons."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, get_args

Kind = Literal[
    "Expectations",
    "Compared cells",
    "Unfinished runs",
    "Data",
    "Code and versions",
    "Machines",
    "Metrics",
]


@dataclass(frozen=True)
class Note:
    """A sentence about what limits a comparison."""

    kind: Kind
    text: str


def notes_by_kind(notes: Iterable[Note]) -> dict[Kind, list[str]]:
    """The texts of notes by kind, in the order of `Kind`.

    Example:
        >>> notes_by_kind([Note("Data", "data, test: images without boxes: 2")])
        {'Data': ['data, test: images without boxes: 2']}
    """
    kinds: dict[Kind, list[str]] = {kind: [] for kind in get_args(Kind)}
    for note in notes:
        kinds[note.kind].append(note.text)
    return {kind: texts for kind, texts in kinds.items() if texts}
