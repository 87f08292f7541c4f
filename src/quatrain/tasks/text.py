r"""Reading of users' data files: bytes, text in UTF-8, lines.

    b"ein Hund\r\nzwei"             ->  "ein Hund", "zwei"
    b"e\0i\0n\0"                     ->  train.de is in UTF-16LE; convert it ...
    b"version https://git-lfs..."  ->  train.de is a Git LFS pointer; run git lfs pull ...

English in UTF-16 or UTF-32 is valid UTF-8 with NUL bytes between the letters, so NUL bytes are
refused. Other control characters are kept. Other line separators of Unicode (U+2028, U+0085, the
form feed) do not end a line.
"""

import codecs
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from quatrain.specs import DataError

_POINTERS = {
    b"version https://git-lfs.github.com/spec/": ("a Git LFS pointer", "run git lfs pull"),
    b"version https://hawser.github.com/spec/": ("a Git LFS pointer", "run git lfs pull"),
    b"/annex/objects/": ("a git-annex pointer", "run git annex get"),
}
# A pointer has a few lines; a text that starts like one is longer.
_POINTER_BYTES = 1024

_MARKS = {  # UTF-32LE starts like UTF-16LE
    codecs.BOM_UTF32_LE: "UTF-32LE",
    codecs.BOM_UTF32_BE: "UTF-32BE",
    codecs.BOM_UTF16_LE: "UTF-16LE",
    codecs.BOM_UTF16_BE: "UTF-16BE",
}
_SAMPLE_BYTES = 1 << 16
_ASCII_SHARE = 0.02  # line ends and digits, in any script


@contextmanager
def open_data(path: Path) -> Iterator[BinaryIO]:
    """Open a regular file of the user's data; opening a named pipe would block."""
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            remedy = "replace the folder, pipe or device by a file"
            raise DataError(f"{path} is no regular file; {remedy}", str(path))
        with path.open("rb") as file:
            yield file
    except FileNotFoundError:
        files = list_folder(path.parent, path.suffix)
        raise DataError(f"{path} does not exist; {files}", str(path)) from None
    except MemoryError:
        message = f"{path} has {path.stat().st_size:,} bytes, more than fit into memory; split it"
        raise DataError(message, str(path)) from None
    except (OSError, ValueError) as error:  # ValueError: an impossible name
        reason = (error.strerror if isinstance(error, OSError) else None) or str(error)
        message = f"cannot read {str(path)!r} ({reason}); replace or remove it"
        raise DataError(message, str(path)) from error


def read_bytes(path: Path) -> bytes:
    """The content of a regular file of the user's data that is no pointer to the data."""
    with open_data(path) as file:
        content = file.read()
    check_not_pointer(content, str(path))
    return content


def data_folder(folder: Path | None, content: str) -> Path:
    """The folder of `--data`, which must exist; `content` describes it in the error."""
    if folder is None:
        raise DataError(f"the data are missing; pass --data with a folder of {content}", "--data")
    if not folder.is_dir():
        raise DataError(f"--data={folder} is no folder; correct the path", "--data")
    return folder


def list_folder(folder: Path, suffix: str = "") -> str:
    """Text that lists some files of `folder`, those with this suffix if there are any."""
    try:
        if not folder.is_dir():
            return f"there is no folder {folder}"
        names = sorted(entry.name for entry in folder.iterdir())
    except OSError as error:  # also of a path that is too long
        return f"its folder cannot be listed: {error.strerror or error}"
    if not names:
        return "its folder is empty"
    names = [name for name in names if name.endswith(suffix)] or names
    return f"its folder contains {', '.join(names[:8])}{', ...' if len(names) > 8 else ''}"


def pointer_kind(content: bytes) -> tuple[str, str] | None:
    """The kind of a Git LFS or git-annex pointer, and the command that fetches the data.

    Both leave pointers in place of files that were not downloaded. None for other content.
    """
    if len(content) > _POINTER_BYTES:
        return None
    return next((kind for start, kind in _POINTERS.items() if content.startswith(start)), None)


def check_not_pointer(content: bytes, name: str) -> None:
    """Check that a file contains the data and not a pointer to them."""
    pointer = pointer_kind(content)
    if pointer:
        raise DataError(f"{name} is {pointer[0]}; {pointer[1]} in its folder", name)


def decode_text(content: bytes, name: str) -> str:
    """Decode the UTF-8 file `name`, without its byte order mark."""
    content = content.removeprefix(codecs.BOM_UTF8)
    try:
        text = content.decode()
    except UnicodeDecodeError as error:
        raise _not_utf8(content, name, error.start) from None
    if "\0" in text:
        raise _not_utf8(content, name, content.index(0))
    return text


def split_lines(text: str) -> list[str]:
    """Lines without their ends; the last line need not have one.

    A line ends with a line feed, with or without a carriage return before it, or with a carriage
    return in a text without line feeds.
    """
    if "\n" not in text:
        return text.removesuffix("\r").split("\r")
    lines = text.removesuffix("\n").split("\n")
    if "\r" in text:
        return [line.removesuffix("\r") for line in lines]
    return lines


def _not_utf8(content: bytes, name: str, position: int) -> DataError:
    encoding = _other_encoding(content)
    if encoding:
        command = f"iconv -f {encoding} -t UTF-8"
        return DataError(f"{name} is in {encoding}; convert it to UTF-8 by {command}", name)
    line = content.count(b"\n", 0, position) + 1
    place, byte = f"{name}:{line}", content[position]
    if byte == 0:
        return DataError(f"{place} has a NUL byte; remove it by tr -d '\\000'", place)
    return DataError(
        f"{place} has the byte 0x{byte:02x}, which is not UTF-8; convert the file, for example by "
        "iconv -t utf-8",
        place,
    )


def _other_encoding(content: bytes) -> str | None:
    """UTF-16 or UTF-32, inferred from the byte order mark or the positions of NUL bytes."""
    for mark, encoding in _MARKS.items():
        if content.startswith(mark):
            return encoding
    sample = content[:_SAMPLE_BYTES]
    likely = max(_MARKS.values(), key=lambda encoding: _ascii_share(sample, encoding))
    return likely if _ascii_share(sample, likely) >= _ASCII_SHARE else None


def _ascii_share(sample: bytes, encoding: str) -> float:
    """The share of ASCII characters in a sample decoded by `encoding`; 0 if it is not valid."""
    try:
        # Incremental, because the sample may end within a character.
        text = codecs.getincrementaldecoder(encoding)().decode(sample)
    except UnicodeDecodeError:
        return 0.0
    if not text or "\0" in text or (b"\n" in sample and "\n" not in text):
        return 0.0
    return sum(character.isascii() for character in text) / len(text)
