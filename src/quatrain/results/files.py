"""Files of quatrain's own: a reader sees the old one or the new one, and never half of it.

A process that is killed while it writes leaves a file ".NAME.1a2b3c4d.tmp". A later write of NAME
removes it when it is too old to be another process's, and the only writer of NAME removes it at
once by `clear_unfinished`.
"""

import glob
import os
import secrets
import time
from contextlib import suppress
from pathlib import Path

from quatrain.specs import StudyError

CHECKPOINT = "checkpoint.safetensors"
"""The file in a run's folder that training resumes from; removed when the run is done."""

_ABANDONED = 3600.0
"""Seconds without a write after which nobody is at work on a temporary file any more."""


def write_atomically(path: Path, content: str | bytes | bytearray) -> None:
    """Write bytes or text beside `path` under a temporary name, then rename; make missing folders.

    Text is written in UTF-8, and its line ends stay what they are.

    Raises:
        StudyError: if the disk is full or the folder cannot be written; `path` is untouched then.
    """
    make_folder(path.parent)
    written = content.encode() if isinstance(content, str) else content
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        # "x" makes the file: a link that somebody put there is not followed.
        with temporary.open("xb") as file:
            file.write(written)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException as error:
        with suppress(OSError):  # the first error is the one to tell
            temporary.unlink()
        if isinstance(error, OSError):
            raise unwritable(path.parent, error) from error
        raise
    clear_unfinished(path.parent, path.name, age=_ABANDONED)


def clear_unfinished(folder: Path, name: str, age: float = 0.0) -> None:
    """Remove the temporary files that killed writes of the file `name` left in `folder`.

    Args:
        folder: Where to look.
        name: The file that was to be written; with an age of 0, one that no other process writes.
        age: Seconds since the last change, below which a file is left alone.
    """
    latest = time.time() - age
    for path in folder.glob(f".{glob.escape(name)}.{'[0-9a-f]' * 8}.tmp"):
        with suppress(OSError):  # what cannot be removed does no harm
            if path.lstat().st_mtime <= latest:
                path.unlink()


def make_folder(folder: Path) -> None:
    """Make `folder` and its parents.

    Raises:
        StudyError: if it cannot be made, or if a file stands in its place.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise unwritable(folder, error) from error


def unwritable(folder: Path, error: OSError) -> StudyError:
    """The error for a folder that refuses a write, with the operating system's reason."""
    reason = error.strerror or str(error)
    return StudyError(
        "run folder",
        str(folder),
        "a folder that can be written",
        f'the system says "{reason}"; make room or name another folder, then run again',
    )
