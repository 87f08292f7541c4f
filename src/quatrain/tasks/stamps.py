"""Whether files are still what they were when they were read."""

import os
from pathlib import Path

Stamps = tuple[tuple[str, int, int], ...]


def file_stamps(folder: Path | None) -> Stamps:
    """Name, time and size of each file below a folder: another answer means to read again.

    Without a folder, or with one that cannot be listed, there is none: reading will tell.
    """
    if folder is None:
        return ()
    found: list[tuple[str, int, int]] = []
    for home, _, names in os.walk(folder):
        for name in names:
            path = Path(home, name)
            try:
                stat = path.stat()
            except OSError:  # a link that leads nowhere, or a file just removed
                continue
            found.append((str(path.relative_to(folder)), stat.st_mtime_ns, stat.st_size))
    return tuple(sorted(found))
