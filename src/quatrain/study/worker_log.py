"""The log of a worker, worker-1.log: what its tasks, libraries and child processes print.

A task may print more than the disk holds, so the middle of a long log is left out:

    the first 16 MiB
    quatrain: 1,040,187,392 bytes left out
    the last 16 MiB, and up to 32 MiB more until the log is shortened again
"""

import os
import stat
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

LOG_LIMIT = 2**26
"""Bytes of the longest log; a quarter of them are kept at each end."""


def shorten_log(path: Path, limit: int | None = None) -> None:
    """Leave out the middle of a log of more than `limit` bytes, by default `LOG_LIMIT`.

    Processes that append to the log may continue; lines that they write meanwhile can be lost. A
    log that cannot be shortened stays as it is, and so does a link to another file.
    """
    limit = LOG_LIMIT if limit is None else limit
    with suppress(OSError):
        info = path.lstat()
        if stat.S_ISREG(info.st_mode) and info.st_size > limit:
            with os.fdopen(os.open(path, os.O_RDWR | os.O_APPEND | _NO_LINKS), "r+b", 0) as log:
                _shorten(log, info.st_size, limit // 4)


_NO_LINKS = getattr(os, "O_NOFOLLOW", 0)


def _shorten(log: BinaryIO, size: int, kept: int) -> None:
    head = log.read(kept)
    begin = head.rfind(b"\n") + 1 or len(head)
    log.seek(size - kept)
    tail = log.read(kept)
    tail = tail[tail.find(b"\n") + 1 :]
    log.truncate(begin)
    log.write(b"quatrain: %s bytes left out\n%b" % (f"{size - begin - len(tail):,}".encode(), tail))
