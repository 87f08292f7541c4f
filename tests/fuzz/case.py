"""A reader of untrusted files, as the table of readers lists it."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from fuzz.mutators import Mutator


@dataclass(frozen=True)
class Case:
    """A file that is replaced by mutated ones, and the function that reads it."""

    path: Path
    examples: tuple[bytes, ...]
    """Contents that are read without an error."""
    read: Callable[[], object]
    refused: tuple[bytes, ...] = ()
    """Further contents to mutate, which are refused."""


@dataclass(frozen=True)
class Reader:
    """A kind of file."""

    open: Callable[[Path], Case]
    """Prepares an empty folder with all files that the reader needs."""
    mutate: Mutator
