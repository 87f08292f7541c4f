"""Reading of files in a study's folder, which may have been replaced by anything.

    read_regular(folder / "record.json", remedy="delete it")      # bytes, or None if it is absent

A pipe, which would block the reader, and a huge file are errors.
"""

import stat
from pathlib import Path

from quatrain.specs import StoredFileError

LARGEST = 2**25
"""Bytes of the largest JSON file that is read: a manifest of 300,000 runs."""


def read_regular(path: Path, remedy: str, largest: int = LARGEST) -> bytes | None:
    """The content of a regular file, or of a link to one; None if there is no file.

    Raises:
        StoredFileError: if it is no regular file, larger than `largest` bytes or unreadable.
    """
    try:
        info = path.stat()
        if not stat.S_ISREG(info.st_mode):
            raise StoredFileError(str(path), "no regular file", "a file", remedy)
        if info.st_size > largest:
            limit = f"at most {largest / 2**20:,.0f} MiB"
            raise StoredFileError(str(path), f"{info.st_size:,} bytes long", limit, remedy)
        return path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        expected = f'a file that can be read (the system says "{error.strerror or error}")'
        raise StoredFileError(str(path), "unreadable", expected, remedy) from error


def read_text(path: Path, remedy: str) -> str:
    """The text of a file that quatrain wrote.

    Raises:
        StoredFileError: if it is missing, is not UTF-8, or as for `read_regular`.
    """
    content = read_regular(path, remedy)
    if content is None:
        raise StoredFileError(str(path), "missing", "a text file in UTF-8", remedy)
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        raise StoredFileError(str(path), "not UTF-8", "a text file in UTF-8", remedy) from error


def is_file_within(path: Path, folder: Path) -> bool:
    """Whether `path` is a regular file in `folder`, with all links resolved."""
    try:
        return path.is_file() and path.resolve().is_relative_to(folder.resolve())
    except (OSError, RuntimeError, ValueError):  # circular links; a name with a zero byte
        return False
