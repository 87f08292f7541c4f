"""The three parts of a dataset, with the hashes of their files and their data warnings."""

from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

PartT = TypeVar("PartT")


@dataclass(frozen=True, eq=False, kw_only=True)
class DatasetParts(Generic[PartT]):
    """Three parts, SHA-256 of their files by name, and counts of data warnings by part and kind."""

    train: PartT
    valid: PartT
    test: PartT
    hashes: dict[str, str]
    data_notes: dict[str, int] = field(default_factory=dict)
    test_hashes: dict[str, str] | None = None
    """SHA-256 of the files of the test part."""

    @property
    def skipped(self) -> dict[str, int]:
        """The name of `data_notes` in 0.1."""
        return self.data_notes


def most_images(corpus: DatasetParts[Any]) -> int:
    """At most this many images differ: those of all parts, and the flips of training images."""
    return 2 * len(corpus.train) + len(corpus.valid) + len(corpus.test)


@dataclass(frozen=True)
class CheckedPart(Generic[PartT]):
    """A part, SHA-256 of its files by name, and counts of its data warnings by kind."""

    part: PartT
    hashes: dict[str, str]
    data_notes: dict[str, int]


def read_parts(
    names: tuple[Hashable, Hashable, Hashable],
    read: Callable[[Any, bool], CheckedPart[Any]],
    shared_hashes: dict[str, str] | None = None,
) -> dict[str, Any]:
    """The fields of `DatasetParts`.

    Args:
        names: The names of the training, validation and test part; if the last two are equal, the
            part is read once.
        read: Reads the part of a name; its second argument says whether the part is for training.
        shared_hashes: SHA-256 of files that all parts share, by name.
    """
    shared = shared_hashes or {}
    train, valid = read(names[0], True), read(names[1], False)
    test = valid if names[2] == names[1] else read(names[2], False)
    return {
        "train": train.part,
        "valid": valid.part,
        "test": test.part,
        "hashes": shared | train.hashes | valid.hashes | test.hashes,
        "data_notes": train.data_notes | valid.data_notes | test.data_notes,
        "test_hashes": shared | test.hashes,
    }
