"""Checks of the user's files and folders, JSON with errors that name the place, and hashes."""

import codecs
import errno
import hashlib
import re
from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Sequence
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError
from pydantic_core import from_json

from quatrain.specs import DataError, SpecError
from quatrain.tasks.text import decode_text, list_folder

Parsed = TypeVar("Parsed")

_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f]")


def check_pattern(pattern: str, field: str) -> None:
    """Refuse a pattern without {part}, which would name the same files for every part."""
    if "{part}" not in pattern:
        message = f"{field}={pattern!r} has no {{part}}; write it in place of the name of the part"
        raise SpecError(message, field)


def check_name(name: str, field: str) -> None:
    """Refuse a file name with control characters, a sign of damage or of another encoding."""
    if _CONTROL.search(name):
        message = f"{field} is {name!a}, with control characters; write the name in UTF-8"
        raise DataError(message, field)


def check_files(paths: Sequence[Path], source: str) -> None:
    """Refuse a list of files of which some do not exist; `source` names the list."""
    missing = [path for path in paths if not _is_file(path)]
    if missing:
        problem = f"{len(missing)} of {len(paths)} files of {source} are missing or not regular"
        hint = list_folder(missing[0].parent)
        raise DataError(f"{problem} files, the first {missing[0]}; {hint}", source)


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError as error:
        if error.errno == errno.ENAMETOOLONG:
            return False
        raise


def check_unique(kind: str, values: Iterable[Hashable], source: str) -> None:
    """Refuse values of which one occurs twice; `kind` names them in the plural."""
    repeated = [value for value, count in Counter(values).items() if count > 1]
    if repeated:
        others = f", as are {len(repeated) - 1} others" if len(repeated) > 1 else ""
        problem = f"{repeated[0]} is more than once among the {kind} of {source}{others}"
        raise DataError(f"{problem}; remove or renumber the repeated entries", source)


def parse_json(
    validate: Callable[[bytes], Parsed], content: bytes, name: str, expected: str
) -> Parsed:
    """The content of a JSON file, validated by `validate` of a pydantic type.

    An error has the first invalid place; `expected` describes a valid file.
    """
    content = content.removeprefix(codecs.BOM_UTF8)
    try:
        return validate(content)
    except ValidationError as error:
        decode_text(content, name)  # raises an error with the encoding if it is not UTF-8
        problem = error.errors(include_input=False, include_url=False)[0]
        message = problem["msg"][:1].lower() + problem["msg"][1:]
        if problem["loc"]:
            place = ".".join(map(str, problem["loc"]))
            message = f"{_entry_id(content, problem['loc'])}{place}: {message}"
        message = f"{name} is no {expected} ({message}); correct the file"
        raise DataError(message, name) from None


def _entry_id(content: bytes, place: tuple[int | str, ...]) -> str:
    """The id of the JSON entry that contains a place such as ("annotations", 3, "bbox")."""
    match place:
        case str(section), int(number), str(field), *_ if field != "id":
            entry: Any = from_json(content)[section][number]
            has_id = isinstance(entry, dict) and "id" in entry
            return f"the entry of id {entry['id']!a}, " if has_id else ""
    return ""


def sha256(pieces: Iterable[bytes]) -> str:
    """SHA-256 of the pieces, each with its length, in hexadecimal."""
    digest = hashlib.sha256()
    for piece in pieces:
        digest.update(len(piece).to_bytes(8, "little"))
        digest.update(piece)
    return digest.hexdigest()
