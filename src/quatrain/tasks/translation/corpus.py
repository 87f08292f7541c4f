"""Sentence pairs in three parts, however they came to be: what every kind of data reads into."""

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass

Pair = tuple[str, str]
"""A source sentence and its translation."""


@dataclass(frozen=True)
class Lines:
    """Where the training pairs stand: parts of (source, target) files, read one after the other.

    `ends` are the running totals of the parts' lines, and `numbers` the pairs' lines in that
    count, from 0; lines that were left out have no pair.
    """

    files: tuple[tuple[str, str], ...]
    ends: tuple[int, ...]
    numbers: Sequence[int]

    def place(self, pair: int, side: int) -> str:
        """File and line of one side of a pair, as "train.de:12"."""
        number = self.numbers[pair]
        part = bisect_right(self.ends, number)
        start = self.ends[part - 1] if part else 0
        return f"{self.files[part][side]}:{number - start + 1}"


@dataclass(frozen=True)
class Corpus:
    """Training, validation and test pairs, with the fingerprints of what they were read from.

    `hashes` maps a file's name to the SHA-256 of its bytes; made data have one entry, the SHA-256
    of their text. `dropped` counts the training pairs that the spec said to leave out. `lines`
    says where the others stand; made data have none.
    """

    train: list[Pair]
    valid: list[Pair]
    test: list[Pair]
    languages: tuple[str, str]
    hashes: dict[str, str]
    dropped: int = 0
    lines: Lines | None = None

    def place(self, pair: int, side: int) -> str:
        """Where to find one side (0 source, 1 target) of a training pair."""
        return self.lines.place(pair, side) if self.lines else f"training pair {pair + 1}"
