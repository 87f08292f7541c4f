r"""The user's files: read, decoded from UTF-8, or refused in a sentence that names the file.

    b"ein Hund\r\nzwei"             ->  "ein Hund", "zwei"
    b"e\0i\0n\0"                     ->  train.de is "UTF-16LE", expected text in UTF-8
    b"version https://git-lfs..."  ->  train.de is "a Git LFS pointer", expected the data

English in UTF-16 or UTF-32 is valid UTF-8 with NUL bytes between the letters, so a NUL is refused
wherever it stands. Other control characters are kept. Other line separators of Unicode (U+2028,
U+0085, the form feed) do not end a line.
"""

import codecs
from pathlib import Path

from quatrain.specs import DataError

_POINTERS = {
    b"version https://git-lfs.github.com/spec/": ("a Git LFS pointer", "run git lfs pull"),
    b"version https://hawser.github.com/spec/": ("a Git LFS pointer", "run git lfs pull"),
    b"/annex/objects/": ("a git-annex pointer", "run git annex get"),
}
# A pointer is a few lines; a text that happens to begin like one is longer.
_POINTER_BYTES = 1024

_MARKS = {  # UTF-32LE begins like UTF-16LE
    codecs.BOM_UTF32_LE: "UTF-32LE",
    codecs.BOM_UTF32_BE: "UTF-32BE",
    codecs.BOM_UTF16_LE: "UTF-16LE",
    codecs.BOM_UTF16_BE: "UTF-16BE",
}
_SAMPLE_BYTES = 1 << 16
_ASCII_SHARE = 0.02  # line ends and digits, in any script


def read_bytes(path: Path) -> bytes:
    """The content of one of the user's files.

    Raises:
        DataError: if it does not exist, cannot be read, or is a pointer to the data.
    """
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        remedy = what_is_there(path.parent, path.suffix)
        raise DataError("data file", str(path), "a file that exists", remedy) from None
    except (OSError, ValueError) as error:
        raise unreadable("data file", path, error) from error
    refuse_pointer(content, str(path))
    return content


def unreadable(kind: str, path: Path, error: Exception) -> DataError:
    """The error of a file that the system does not read, or whose name it cannot have."""
    reason = (error.strerror if isinstance(error, OSError) else None) or str(error)
    return DataError(kind, str(path), "a file that can be read", reason)


def what_is_there(folder: Path, suffix: str = "") -> str:
    """A few names in `folder`, for whoever mistyped one: those of this ending, if there are any."""
    if not folder.is_dir():
        return f"there is no folder {folder}"
    try:
        names = sorted(entry.name for entry in folder.iterdir())
    except OSError as error:
        return f"its folder cannot be listed: {error.strerror or error}"
    if not names:
        return "its folder is empty"
    alike = [name for name in names if name.endswith(suffix)] or names
    return f"its folder holds {', '.join(alike[:8])}{', ...' if len(alike) > 8 else ''}"


def pointer(content: bytes) -> tuple[str, str] | None:
    """The kind of pointer that stands in place of the data, and the command that fetches them.

    Git LFS and git-annex leave pointers where files were not downloaded; None for other content.
    """
    if len(content) > _POINTER_BYTES:
        return None
    return next((kind for start, kind in _POINTERS.items() if content.startswith(start)), None)


def refuse_pointer(content: bytes, name: str) -> None:
    """Refuse a file that is a pointer to the data.

    Raises:
        DataError: with the command that fetches the data.
    """
    found = pointer(content)
    if found:
        raise DataError(name, found[0], "the data", f"{found[1]} in its folder")


def decode_text(content: bytes, name: str) -> str:
    """Text of the UTF-8 file `name`, without a byte order mark.

    Raises:
        DataError: if it is not UTF-8, holds a NUL, or is a pointer to the data.
    """
    refuse_pointer(content, name)
    content = content.removeprefix(codecs.BOM_UTF8)
    try:
        text = content.decode()
    except UnicodeDecodeError as error:
        raise _not_utf8(content, name, error.start) from None
    if "\0" in text:
        raise _not_utf8(content, name, content.index(0))
    return text


def split_lines(text: str) -> list[str]:
    """Lines without their ends; the last need not have one.

    A line feed ends a line, with or without a carriage return before it; where there is no line
    feed at all, a carriage return does.
    """
    if "\n" not in text:
        return text.removesuffix("\r").split("\r")
    lines = text.removesuffix("\n").split("\n")
    if "\r" in text:
        return [line.removesuffix("\r") for line in lines]
    return lines


def _not_utf8(content: bytes, name: str, position: int) -> DataError:
    expected = "text in UTF-8"
    encoding = _other_encoding(content)
    if encoding:
        return DataError(name, encoding, expected, f"convert it by iconv -f {encoding} -t UTF-8")
    line = content.count(b"\n", 0, position) + 1
    byte = content[position]
    if byte == 0:
        remedy = "remove it, for example by tr -d '\\000'"
        return DataError(f"{name}:{line}", "a NUL byte", expected, remedy)
    remedy = "convert the file, for example by iconv -t utf-8"
    return DataError(f"{name}:{line}", f"byte 0x{byte:02x}", expected, remedy)


def _other_encoding(content: bytes) -> str | None:
    """UTF-16 or UTF-32, by the byte order mark or else by where the NUL bytes are."""
    for mark, encoding in _MARKS.items():
        if content.startswith(mark):
            return encoding
    sample = content[:_SAMPLE_BYTES]
    likely = max(_MARKS.values(), key=lambda encoding: _ascii_share(sample, encoding))
    return likely if _ascii_share(sample, likely) >= _ASCII_SHARE else None


def _ascii_share(sample: bytes, encoding: str) -> float:
    """The share of ASCII if `sample` is text in this encoding; 0 if it cannot be."""
    try:
        # Incremental, since the sample may end within a character.
        text = codecs.getincrementaldecoder(encoding)().decode(sample)
    except UnicodeDecodeError:
        return 0.0
    if not text or "\0" in text or (b"\n" in sample and "\n" not in text):
        return 0.0
    return sum(character.isascii() for character in text) / len(text)
