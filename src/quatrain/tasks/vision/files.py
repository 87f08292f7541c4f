"""The user's files: found, read and fingerprinted, or refused in one sentence."""

import codecs
import errno
import hashlib
import unicodedata
from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Sequence
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError
from pydantic_core import from_json

from quatrain.specs import DataError, SpecError
from quatrain.tasks.text import decode_text, list_folder

Parsed = TypeVar("Parsed")


def require_part(field: str, pattern: str) -> None:
    """Refuse a pattern that would name the same files for every part.

    Raises:
        SpecError: if it has no place for the name of a part.
    """
    if "{part}" not in pattern:
        remedy = "write {part} where the name of the part stands"
        raise SpecError(field, pattern, "a path with {part} in it", remedy)


def data_folder(folder: Path | None, kind: str) -> Path:
    """The folder given as `--data`.

    Raises:
        DataError: if none was given, or there is no such folder.
    """
    if folder is None:
        raise DataError("--data", None, f"a folder of {kind}", "pass --data FOLDER")
    if not folder.is_dir():
        raise DataError("--data", str(folder), "a folder that exists", "mend the path")
    return folder


def require_name(name: str, field: str) -> None:
    """Refuse a file name with control characters, which come of damage or of another encoding.

    Raises:
        DataError: if there is one, NUL among them.
    """
    if any(unicodedata.category(character) == "Cc" for character in name):
        expected = "a file name without control characters"
        raise DataError(field, ascii(name), expected, "write the name anew, in UTF-8")


def decode(content: bytes, path: Path) -> str:
    """Text of a UTF-8 file, without a byte order mark.

    Raises:
        DataError: if it is not UTF-8, or holds a NUL.
    """
    return decode_text(content, str(path))


def parse_json(
    validate: Callable[[bytes], Parsed], content: bytes, name: str, expected: str
) -> Parsed:
    """What a json file holds, as `validate` of a pydantic type reads it.

    Raises:
        DataError: if it is not UTF-8; else with the first place that is not of that type,
            `expected` saying what would be.
    """
    content = content.removeprefix(codecs.BOM_UTF8)
    try:
        return validate(content)
    except ValidationError as error:
        decode_text(content, name)  # names the encoding of a file that is not UTF-8
        problem = error.errors(include_input=False, include_url=False)[0]
        place = _entry(content, problem["loc"]) + ".".join(map(str, problem["loc"]))
        message = problem["msg"][:1].lower() + problem["msg"][1:]
        found = f"{place}: {message}" if place else message
        raise DataError(name, found, expected, "mend the file") from None


def _entry(content: bytes, place: tuple[int | str, ...]) -> str:
    """The id that the file gives the entry around this place, as "annotations", 3, "bbox"."""
    match place:
        case str(section), int(number), str(field), *_ if field != "id":
            entry: Any = from_json(content)[section][number]
            known = isinstance(entry, dict) and "id" in entry
            return f"the entry of id {entry['id']!a}, " if known else ""
    return ""


def require_files(paths: Sequence[Path], whose: str) -> None:
    """Refuse files that do not exist, all at once.

    Raises:
        DataError: with the number of missing files and the first of them.
    """
    missing = [path for path in paths if not _is_file(path)]
    if missing:
        folder = missing[0].parent
        raise DataError(
            f"the files named in {whose}",
            f"missing {len(missing)} of {len(paths)}, the first {missing[0]}",
            "files that exist",
            list_folder(folder) if folder.is_dir() else f"there is no folder {folder}",
        )


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError as error:
        if error.errno == errno.ENAMETOOLONG:  # no file has such a name
            return False
        raise


def refuse_repeats(what: str, values: Iterable[Hashable], source: str) -> None:
    """Refuse a value that is there twice.

    Raises:
        DataError: with the number of such values and the first.
    """
    twice = [value for value, times in Counter(values).items() if times > 1]
    if twice:
        raise DataError(
            f"the {what} of {source}",
            f"{twice[0]} more than once, as are {len(twice) - 1} others",
            "each once",
            "remove what is double, or number anew",
        )


def sha256(pieces: Iterable[bytes]) -> str:
    """SHA-256 of the pieces, each with its length, in hexadecimal."""
    digest = hashlib.sha256()
    for piece in pieces:
        digest.update(len(piece).to_bytes(8, "little"))
        digest.update(piece)
    return digest.hexdigest()
