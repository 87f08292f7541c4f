"""Modification times and sizes of files, to notice when cached data are outdated."""

import os
from pathlib import Path

Stamps = tuple[tuple[str, int, int], ...]


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
