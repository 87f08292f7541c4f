"""The notes of a report by kind: data, code, machines."""

import re
from collections.abc import Iterable
from dataclasses import dataclass

KINDS = (
    ("Expectations", r"expectation not met|\d+ of \d+ expectations"),
    ("Compared cells", r"compared cells differ|equal metrics in all seeds"),
    ("Unfinished runs", r"runs still to be done|groups not started|.*: of \d+ runs, |excluded: "),
    ("Data", r"data[ ,:]|cells of group .* were trained on different data"),
    (
        "Code and versions",
        r"compared cells ran|resumed with|uncommitted|.* changed after \d|ignored",
    ),
    ("Machines", r".* were measured on different machines"),
    ("Metrics", r".* was computed differently"),
)
"""The kind of a note by its beginning; others are "Other"."""


@dataclass(frozen=True)
class Notes:
    """The notes of one kind."""

    kind: str
    notes: tuple[str, ...]


def notes_by_kind(notes: Iterable[str]) -> list[Notes]:
    """The notes by kind, in the order of `KINDS`.

    Example:
        >>> notes_by_kind(["uncommitted code changes in 2 runs"])
        [Notes(kind='Code and versions', notes=('uncommitted code changes in 2 runs',))]
    """
    kinds: dict[str, list[str]] = {kind: [] for kind, _ in KINDS}
    for note in notes:
        kind = next((kind for kind, start in KINDS if re.match(start, note, re.DOTALL)), "Other")
        kinds.setdefault(kind, []).append(note)
    return [Notes(kind, tuple(members)) for kind, members in kinds.items() if members]
