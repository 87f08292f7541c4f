"""Sentence pairs in three parts, however they came to be: what every kind of data reads into."""

from dataclasses import dataclass

Pair = tuple[str, str]
"""A source sentence and its translation."""


@dataclass(frozen=True)
class Corpus:
    """Training, validation and test pairs, with the fingerprints of what they were read from.

    `hashes` maps a file's name to the SHA-256 of its bytes; made data have one entry, the SHA-256
    of their text. `dropped` counts the training pairs that the spec said to leave out.
    """

    train: list[Pair]
    valid: list[Pair]
    test: list[Pair]
    languages: tuple[str, str]
    hashes: dict[str, str]
    dropped: int = 0
