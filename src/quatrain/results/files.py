"""Writing a file so that a reader sees the old one or the new one, and never half of it."""

import os
import secrets
from contextlib import suppress
from pathlib import Path

from quatrain.specs import StudyError


def write_atomically(path: Path, content: str | bytes) -> None:
    """Write bytes or text beside `path` under a temporary name, then rename; make missing folders.

    Text is written in UTF-8, and its line ends stay what they are.

    Raises:
        StudyError: if the disk is full or the folder cannot be written; `path` is untouched then.
    """
    make_folder(path.parent)
    written = content.encode() if isinstance(content, str) else content
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        with temporary.open("wb") as file:
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
