"""Data that the runs of a worker process share, read again after a file has changed."""

import os
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import TypeVar

from quatrain.specs import Spec

Stamps = tuple[tuple[str, int, int], ...]
Data = TypeVar("Data")


def read_cached(read: Callable[..., Data], folder: Path | None, *specs: Spec) -> Data:
    """`read(*specs, folder)`, kept in memory until a file below the folder changes."""
    return _read(read, specs, folder, file_stamps(folder))


@lru_cache(maxsize=2)
def _read(
    read: Callable[..., Data],
    specs: tuple[Spec, ...],
    folder: Path | None,
    stamps: Stamps,  # noqa: ARG001 - a cache key
) -> Data:
    return read(*specs, folder)


def file_stamps(folder: Path | None) -> Stamps:
    """Name, modification time and size of each file below a folder.

    Empty without a folder, or if it cannot be listed: reading the data raises the error.
    """
    if folder is None:
        return ()
    stamps: list[tuple[str, int, int]] = []
    for parent, _, names in os.walk(folder):
        for name in names:
            path = Path(parent, name)
            try:
                stat = path.stat()
            except OSError:  # a broken link, or a file just removed
                continue
            stamps.append((str(path.relative_to(folder)), stat.st_mtime_ns, stat.st_size))
    return tuple(sorted(stamps))
