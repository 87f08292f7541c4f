"""Reading and atomic writing of files in a study's folder.

    write_atomically(path, text)              # the old file or the new one, and never a part of it
    read_regular(path, remedy="delete it")    # bytes, or None if it is absent

A process that is killed while it writes leaves a file ".NAME.1a2b3c4d.tmp". A later write of NAME
removes it once it is too old to belong to a running process; the only writer of NAME removes it at
once with `remove_temporary_files`.
"""

import errno
import glob
import os
import secrets
import stat
import time
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path

from quatrain.specs import StoredFileError, StudyError

CHECKPOINT = "checkpoint.safetensors"
"""The file in a run's folder that training resumes from; removed when the run is done."""

SESSIONS = "sessions.json"
"""The file with the sessions that wrote the checkpoint, removed with it."""

OLD_SESSIONS = "sittings.json"
"""The name of that file before version 0.2."""

_ABANDONED = 3600.0
"""Seconds without a write after which a temporary file belongs to no running process."""

_NO_LINKS = {errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK}
"""What a disk without hard links answers."""

_LARGEST = 2**25
"""Bytes of the largest JSON file that is read: a manifest of 300,000 runs."""


def write_atomically(path: Path, content: str | bytes | bytearray) -> None:
    """Write bytes or text under a temporary name, then rename; create missing folders.

    Text is written in UTF-8, without a change of its line ends.

    Raises:
        StudyError: if the disk is full or the folder cannot be written; `path` is unchanged then.
    """
    with _temporary_file(path, content) as temporary:
        temporary.replace(path)
    remove_temporary_files(path.parent, path.name, age=_ABANDONED)


def create_atomically(path: Path, content: str | bytes | bytearray) -> bool:
    """Write a file unless there is one of this name; return whether this call made it.

    Of several processes, also on several machines, exactly one makes the file. Others see it whole;
    on a disk without hard links they may see a part of it for an instant.

    Raises:
        StudyError: if the disk is full or the folder cannot be written.
    """
    with _temporary_file(path, content) as temporary:
        try:
            os.link(temporary, path)
        except FileExistsError:
            # A server of NFS that repeats a lost reply reports the link it has made as existing.
            return temporary.stat().st_nlink > 1
        except OSError as error:
            if error.errno not in _NO_LINKS:
                raise
            return _create(path, temporary.read_bytes())
    return True


def _create(path: Path, data: bytes) -> bool:
    try:
        with path.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
    except FileExistsError:
        return False
    return True


@contextmanager
def _temporary_file(path: Path, content: str | bytes | bytearray) -> Generator[Path]:
    """A file next to `path` with this content, on the disk, within the block."""
    make_folder(path.parent)
    data = content.encode() if isinstance(content, str) else content
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        # "x" creates the file, so it follows no link of this name.
        with temporary.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        yield temporary
    except OSError as error:
        raise write_error(path.parent, error) from error
    finally:
        with suppress(OSError):  # it was renamed, or the first error is reported
            temporary.unlink()


def remove_temporary_files(folder: Path, name: str, age: float = 0.0) -> None:
    """Remove the temporary files that killed writes of the file `name` left in `folder`.

    Files whose last change is less than `age` seconds ago stay, as other writers may need them.
    """
    latest = time.time() - age
    for path in folder.glob(f".{glob.escape(name)}.{'[0-9a-f]' * 8}.tmp"):
        with suppress(OSError):  # a file that cannot be removed does no harm
            if path.lstat().st_mtime <= latest:
                path.unlink()


def make_folder(folder: Path) -> None:
    """Create `folder` and its parents, unless they exist; StudyError if that fails."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except FileExistsError as error:
        if os.path.lexists(folder) and not folder.is_dir():
            raise write_error(folder, error) from error
        make_folder(folder)  # another process has just removed a folder of this name
    except OSError as error:
        raise write_error(folder, error) from error


def write_error(folder: Path, error: OSError) -> StudyError:
    """The error for a folder that cannot be written, with the operating system's reason."""
    return StudyError(
        f"cannot write in {folder} ({error.strerror or error}); free some space or use another "
        "folder, then run again",
        "run folder",
    )


def read_regular(path: Path, remedy: str, largest: int = _LARGEST) -> bytes | None:
    """The content of a regular file, or of a link to one; None if there is no file.

    StoredFileError with `remedy` if it is a pipe, which would block the reader, or another
    irregular file, unreadable, or larger than `largest` bytes.
    """
    try:
        info = path.stat()
        if not stat.S_ISREG(info.st_mode):
            raise StoredFileError(f"{path} is no regular file; {remedy}", str(path))
        if info.st_size > largest:
            limit = f"{largest / 2**20:,.0f} MiB"
            message = f"{path} has {info.st_size:,} bytes, more than {limit}; {remedy}"
            raise StoredFileError(message, str(path))
        return path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        message = f"cannot read {path} ({error.strerror or error}); {remedy}"
        raise StoredFileError(message, str(path)) from error


def read_text(path: Path, remedy: str) -> str:
    """The text of a file that quatrain wrote in UTF-8; StoredFileError with `remedy` otherwise."""
    content = read_regular(path, remedy)
    if content is None:
        raise StoredFileError(f"{path} is missing; {remedy}", str(path))
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        raise StoredFileError(f"{path} is not text in UTF-8; {remedy}", str(path)) from error


def is_file_within(path: Path, folder: Path) -> bool:
    """Whether `path` is a regular file in `folder`, with all links resolved."""
    try:
        return path.is_file() and path.resolve().is_relative_to(folder.resolve())
    except (OSError, RuntimeError, ValueError):  # circular links; a name with a zero byte
        return False
