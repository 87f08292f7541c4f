"""Loading of a study file: a Python file that defines `study = Study(...)`.

The file is executed, so any error can occur in it. Every error becomes one sentence with the file
and the line, in place of a traceback through importlib.
"""

import importlib.util
import io
import re
import sys
import threading
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from dataclasses import fields
from pathlib import Path
from types import ModuleType

from quatrain.specs import QuatrainError, StudyError, name_missing_extra
from quatrain.study.code import StudyCode
from quatrain.study.grid import Cell, Comparison, Study

_LONGEST_VALUE = 200
_STREAMS = threading.RLock()
"""Held while sys.stdout and its like, which all threads share, are replaced."""


def load_study(path: Path) -> Study:
    """The study that the file at `path` defines.

    The output of the file goes to stderr, its input is empty, and `sys.argv` is its path alone, as
    in a worker.

    Raises:
        StudyError: if there is no such file, it cannot be executed, or it defines no study.
        SpecError: if a spec in it contradicts itself; the sentence ends with file and line.
    """
    if not _is_file(path):
        text = str(path)
        value = text if len(text) <= _LONGEST_VALUE else f"{text[:_LONGEST_VALUE]}..."
        raise StudyError("study file", value, "an existing Python file", "check the path")
    module, code = _import(path, path.absolute())
    study = vars(module).get("study")
    if not isinstance(study, Study):
        value = "missing" if study is None else type(study).__name__
        remedy = "define study = Study(...) in the file"
        raise StudyError(f"study in {path}", value, "a Study", remedy)
    object.__setattr__(study, "code", code)
    return study


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # a name that is too long for the system
        return False


def _import(path: Path, absolute: Path) -> tuple[ModuleType, StudyCode]:
    """Import the file under a unique name, and hash its code.

    The module is added to sys.modules, where pydantic looks up annotations of specs that the study
    file itself defines.

    Args:
        path: the path for error messages.
        absolute: the location, whatever folder the file changes to.
    """
    name = f"quatrain_study_{path.stem}"
    location = importlib.util.spec_from_file_location(name, absolute)
    if location is None or location.loader is None:
        raise StudyError("study file", str(path), "a Python file", "give it the ending .py")
    folder = str(absolute.parent)
    if folder not in sys.path:
        sys.path.append(folder)  # last: files beside the study replace no other module
    module = importlib.util.module_from_spec(location)
    sys.modules[name] = module
    try:
        with _STREAMS, _worker_streams(absolute), name_missing_extra():
            location.loader.exec_module(module)
        return module, StudyCode(name, absolute)
    except KeyboardInterrupt:
        raise
    except QuatrainError as error:
        remedy = f"{error.remedy} in {_line_of(error, path, absolute)}"
        raise type(error)(error.field, error.value, error.expected, remedy) from error
    except SyntaxError as error:
        at = f"{path if _is_same(error.filename, absolute) else error.filename} line {error.lineno}"
        line = (error.text or "").strip()[:_LONGEST_VALUE]
        raise StudyError(at, line, "valid Python", error.msg) from error
    except BaseException as error:  # also SystemExit, and the panics of libraries in Rust
        _raise_unknown_field(error, path, absolute)
        message = " ".join(f"{type(error).__name__}: {error}".split()).rstrip(".")
        where = _line_of(error, path, absolute)
        raise StudyError("study file", where, "a file that runs", message) from error


@contextmanager
def _worker_streams(absolute: Path) -> Iterator[None]:
    """Give the file the streams and arguments of a worker: no terminal, no input, no options."""
    stdin, argv = sys.stdin, sys.argv
    sys.stdin, sys.argv = io.StringIO(), [str(absolute)]
    try:
        with redirect_stdout(sys.stderr):
            yield
    finally:
        sys.stdin, sys.argv = stdin, argv


def _raise_unknown_field(error: BaseException, path: Path, absolute: Path) -> None:
    """Name the known fields of a dataclass for a misspelled one, which Python's error does not."""
    match = re.match(r"(\w+)\.__init__\(\) got an unexpected keyword argument '(\w+)'", str(error))
    owners = {kind.__name__: kind for kind in (Study, Cell, Comparison)}
    if match is None or match[1] not in owners:
        return
    known = ", ".join(each.name for each in fields(owners[match[1]]) if each.init)
    remedy = f"correct the spelling in {_line_of(error, path, absolute)}"
    raise StudyError(f"field of {match[1]}", match[2], f"one of {known}", remedy) from error


def _line_of(error: BaseException, path: Path, absolute: Path) -> str:
    frames = traceback.extract_tb(error.__traceback__)
    lines = [frame.lineno for frame in frames if _is_same(frame.filename, absolute)]
    return f"{path} line {lines[-1]}" if lines else str(path)


def _is_same(filename: str | None, absolute: Path) -> bool:
    return filename is not None and Path(filename).resolve() == absolute.resolve()
