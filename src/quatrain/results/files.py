"""Atomic writes: a reader sees the old file or the new one, and never a part of it.

A process that is killed while it writes leaves a file ".NAME.1a2b3c4d.tmp". A later write of NAME
removes it once it is too old to belong to a running process; the only writer of NAME removes it at
once with `remove_temporary_files`.
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
"""Seconds without a write after which a temporary file belongs to no running process."""


def write_atomically(path: Path, content: str | bytes | bytearray) -> None:
    """Write bytes or text under a temporary name, then rename; create missing folders.

    Text is written in UTF-8, without a change of its line ends.

    Raises:
        StudyError: if the disk is full or the folder cannot be written; `path` is unchanged then.
    """
    make_folder(path.parent)
    data = content.encode() if isinstance(content, str) else content
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        # "x" creates the file, so it follows no link of this name.
        with temporary.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException as error:
        with suppress(OSError):  # report the first error
            temporary.unlink()
        if isinstance(error, OSError):
            raise write_error(path.parent, error) from error
        raise
    remove_temporary_files(path.parent, path.name, age=_ABANDONED)


def remove_temporary_files(folder: Path, name: str, age: float = 0.0) -> None:
    """Remove the temporary files that killed writes of the file `name` left in `folder`.

    Args:
        folder: the folder of the file.
        name: the file that was to be written; with an age of 0, one without another writer.
        age: seconds since the last change, below which a temporary file is not removed.
    """
    latest = time.time() - age
    for path in folder.glob(f".{glob.escape(name)}.{'[0-9a-f]' * 8}.tmp"):
        with suppress(OSError):  # a file that cannot be removed does no harm
            if path.lstat().st_mtime <= latest:
                path.unlink()


def make_folder(folder: Path) -> None:
    """Create `folder` and its parents, unless they exist.

    Raises:
        StudyError: if it cannot be created, for example because it is a file.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise write_error(folder, error) from error


def write_error(folder: Path, error: OSError) -> StudyError:
    """The error for a folder that cannot be written, with the operating system's reason."""
    reason = error.strerror or str(error)
    return StudyError(
        "run folder",
        str(folder),
        "a folder that can be written",
        f'the system says "{reason}"; free some space or use another folder, then run again',
    )
