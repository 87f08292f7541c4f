"""Reading a study file: a Python file that defines `study = Study(...)`.

The file is run as Python runs it, so anything may go wrong in it; whatever does becomes one
sentence with the file and the line, because the reader wants to mend the file, not read a
traceback through importlib.
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

_LONGEST_SHOWN = 200
_LOADING = threading.RLock()
"""Held while sys.stdout and its like are changed, which all threads share."""


def load_study(path: Path) -> Study:
    """The study that the file at `path` defines.

    What the file prints goes to stderr, it reads no input, and `sys.argv` is its path alone: it is
    read as its workers read it.

    Raises:
        StudyError: if there is no such file, it does not run, or it defines no study.
        SpecError: if a spec in it contradicts itself; the sentence ends with file and line.
    """
    if not _is_file(path):
        shown = (
            str(path) if len(str(path)) <= _LONGEST_SHOWN else f"{str(path)[:_LONGEST_SHOWN]}..."
        )
        raise StudyError("study file", shown, "an existing Python file", "check the path")
    module, code = _run_file(path, path.absolute())
    study = vars(module).get("study")
    if not isinstance(study, Study):
        found = "missing" if study is None else type(study).__name__
        raise StudyError(
            f"study in {path}", found, "a Study", "define study = Study(...) in the file"
        )
    object.__setattr__(study, "code", code)
    return study


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # a name longer than the system takes
        return False


def _run_file(path: Path, place: Path) -> tuple[ModuleType, StudyCode]:
    """Import the file under a name of its own, and hash it.

    The module is entered in sys.modules, where pydantic looks up annotations of specs that the
    study file itself defines.

    Args:
        path: as it is called in errors.
        place: where it is, whatever folder the file changes to.
    """
    name = f"quatrain_study_{path.stem}"
    location = importlib.util.spec_from_file_location(name, place)
    if location is None or location.loader is None:
        raise StudyError("study file", str(path), "a Python file", "give it the ending .py")
    folder = str(place.parent)
    if folder not in sys.path:
        sys.path.append(folder)  # last, so that a file beside the study stands for no other module
    module = importlib.util.module_from_spec(location)
    sys.modules[name] = module
    try:
        with _LOADING, _as_in_a_worker(place), name_missing_extra():
            location.loader.exec_module(module)
        return module, StudyCode(name, place)
    except KeyboardInterrupt:
        raise
    except QuatrainError as error:
        remedy = f"{error.remedy} in {_place(error, path, place)}"
        raise type(error)(error.field, error.value, error.expected, remedy) from error
    except SyntaxError as error:
        at = f"{path if _is_in(error.filename, place) else error.filename} line {error.lineno}"
        line = (error.text or "").strip()[:_LONGEST_SHOWN]
        raise StudyError(at, line, "valid Python", error.msg) from error
    except BaseException as error:  # SystemExit too, and the panics of libraries in Rust
        _refuse_unknown_field(error, path, place)
        said = " ".join(f"{type(error).__name__}: {error}".split()).rstrip(".")
        where = _place(error, path, place)
        raise StudyError("study file", where, "a file that runs", said) from error


@contextmanager
def _as_in_a_worker(place: Path) -> Iterator[None]:
    """Let the file see what it sees in a worker: no terminal, no input, no options."""
    stdin, argv = sys.stdin, sys.argv
    sys.stdin, sys.argv = io.StringIO(), [str(place)]
    try:
        with redirect_stdout(sys.stderr):
            yield
    finally:
        sys.stdin, sys.argv = stdin, argv


def _refuse_unknown_field(error: BaseException, path: Path, place: Path) -> None:
    """Python's own error for a mistyped field of a dataclass does not say which there are."""
    found = re.match(r"(\w+)\.__init__\(\) got an unexpected keyword argument '(\w+)'", str(error))
    owner = {kind.__name__: kind for kind in (Study, Cell, Comparison)}.get(
        found[1] if found else ""
    )
    if found is None or owner is None:
        return
    known = ", ".join(each.name for each in fields(owner) if each.init)
    remedy = f"mend the spelling in {_place(error, path, place)}"
    raise StudyError(f"field of {owner.__name__}", found[2], f"one of {known}", remedy) from error


def _place(error: BaseException, path: Path, place: Path) -> str:
    frames = traceback.extract_tb(error.__traceback__)
    lines = [frame.lineno for frame in frames if _is_in(frame.filename, place)]
    return f"{path} line {lines[-1]}" if lines else str(path)


def _is_in(filename: str | None, place: Path) -> bool:
    return filename is not None and Path(filename).resolve() == place.resolve()
