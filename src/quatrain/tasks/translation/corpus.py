"""The corpus: sentence pairs for training, validation and test."""

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass

Pair = tuple[str, str]
"""A source sentence and its translation."""


@dataclass(frozen=True)
class LineNumbers:
    """Files and lines of the training pairs, for error messages.

    `files` are the (source, target) files in the order of reading, `ends` the running totals of
    their numbers of lines. `numbers` are the lines of the pairs in that order, counted from 0 over
    all files; lines that were left out have no pair.
    """

    files: tuple[tuple[str, str], ...]
    ends: tuple[int, ...]
    numbers: Sequence[int]

    def location(self, pair: int, side: int) -> str:
        """File and line of one side of a pair, such as "train.de:12"."""
        number = self.numbers[pair]
        part = bisect_right(self.ends, number)
        start = self.ends[part - 1] if part else 0
        return f"{self.files[part][side]}:{number - start + 1}"


@dataclass(frozen=True)
class Corpus:
    """Sentence pairs with the hashes of their sources.

    `hashes` maps the name of a file to the SHA-256 of its bytes; generated data have one entry, the
    SHA-256 of their text. `dropped` is the number of training pairs left out as the spec says.
    `lines` locates the others in their files; None for generated data.
    """

    train: list[Pair]
    valid: list[Pair]
    test: list[Pair]
    languages: tuple[str, str]
    hashes: dict[str, str]
    dropped: int = 0
    lines: LineNumbers | None = None

    def location(self, pair: int, side: int) -> str:
        """File and line of one side (0 source, 1 target) of a training pair, or its number."""
        return self.lines.location(pair, side) if self.lines else f"training pair {pair + 1}"
