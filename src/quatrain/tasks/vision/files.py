"""Checks of the user's files and folders, JSON with errors that name the place, and hashes."""

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
    """Refuse a pattern without {part}, which would name the same files for every part.

    Raises:
        SpecError: if {part} is missing.
    """
    if "{part}" not in pattern:
        remedy = "write {part} in place of the name of the part"
        raise SpecError(field, pattern, "a path with {part} in it", remedy)


def data_folder(folder: Path | None, kind: str) -> Path:
    """The folder of `--data`; `kind` names its content in errors.

    Raises:
        DataError: if `folder` is None or does not exist.
    """
    if folder is None:
        raise DataError("--data", None, f"a folder of {kind}", "pass --data FOLDER")
    if not folder.is_dir():
        raise DataError("--data", str(folder), "a folder that exists", "correct the path")
    return folder


def require_name(name: str, field: str) -> None:
    """Refuse a file name with control characters, a sign of damage or of another encoding.

    Raises:
        DataError: if the name has a control character, such as NUL.
    """
    if any(unicodedata.category(character) == "Cc" for character in name):
        expected = "a file name without control characters"
        raise DataError(field, ascii(name), expected, "write the name in UTF-8")


def decode(content: bytes, path: Path) -> str:
    """Text of a UTF-8 file, without a byte order mark.

    Raises:
        DataError: if it is not UTF-8, or holds a NUL.
    """
    return decode_text(content, str(path))


def parse_json(
    validate: Callable[[bytes], Parsed], content: bytes, name: str, expected: str
) -> Parsed:
    """The content of a JSON file, validated by `validate` of a pydantic type.

    Raises:
        DataError: if it is not UTF-8, or with the first invalid place; `expected` describes a
            valid file.
    """
    content = content.removeprefix(codecs.BOM_UTF8)
    try:
        return validate(content)
    except ValidationError as error:
        decode_text(content, name)  # raises an error with the encoding if it is not UTF-8
        problem = error.errors(include_input=False, include_url=False)[0]
        place = _entry_id(content, problem["loc"]) + ".".join(map(str, problem["loc"]))
        message = problem["msg"][:1].lower() + problem["msg"][1:]
        raise DataError(
            name, f"{place}: {message}" if place else message, expected, "correct the file"
        ) from None


def _entry_id(content: bytes, place: tuple[int | str, ...]) -> str:
    """The id of the JSON entry that contains a place such as ("annotations", 3, "bbox")."""
    match place:
        case str(section), int(number), str(field), *_ if field != "id":
            entry: Any = from_json(content)[section][number]
            has_id = isinstance(entry, dict) and "id" in entry
            return f"the entry of id {entry['id']!a}, " if has_id else ""
    return ""


def require_files(paths: Sequence[Path], source: str) -> None:
    """Refuse a list of files of which some do not exist; `source` names the list.

    Raises:
        DataError: with the number of missing files and the first of them.
    """
    missing = [path for path in paths if not _is_file(path)]
    if missing:
        folder = missing[0].parent
        raise DataError(
            f"the files named in {source}",
            f"missing {len(missing)} of {len(paths)}, the first {missing[0]}",
            "regular files that exist",
            list_folder(folder) if folder.is_dir() else f"there is no folder {folder}",
        )


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError as error:
        if error.errno == errno.ENAMETOOLONG:
            return False
        raise


def refuse_repeats(kind: str, values: Iterable[Hashable], source: str) -> None:
    """Refuse values of which one occurs twice; `kind` names them in the plural.

    Raises:
        DataError: with the first repeated value and the number of the others.
    """
    repeated = [value for value, count in Counter(values).items() if count > 1]
    if repeated:
        raise DataError(
            f"the {kind} of {source}",
            f"{repeated[0]} more than once, as are {len(repeated) - 1} others",
            "each once",
            "remove the repetition, or number the entries again",
        )


def sha256(pieces: Iterable[bytes]) -> str:
    """SHA-256 of the pieces, each with its length, in hexadecimal."""
    digest = hashlib.sha256()
    for piece in pieces:
        digest.update(len(piece).to_bytes(8, "little"))
        digest.update(piece)
    return digest.hexdigest()
