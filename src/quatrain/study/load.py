"""Reading a study file: a Python file that defines `study = Study(...)`.

The file is run as Python runs it, so anything may go wrong in it; whatever does becomes one
sentence with the file and the line, because the reader wants to mend the file, not read a
traceback through importlib.
"""

import importlib.util
import re
import sys
import traceback
from dataclasses import fields
from pathlib import Path
from types import ModuleType

from quatrain.specs import QuatrainError, StudyError
from quatrain.study.grid import Cell, Comparison, Study


def load_study(path: Path) -> Study:
    """The study that the file at `path` defines.

    Raises:
        StudyError: if there is no such file, it does not run, or it defines no study.
        SpecError: if a spec in it contradicts itself; the sentence ends with file and line.
    """
    if not path.is_file():
        raise StudyError("study file", str(path), "an existing Python file", "check the path")
    study = vars(_run_file(path)).get("study")
    if not isinstance(study, Study):
        found = "missing" if study is None else type(study).__name__
        raise StudyError(
            f"study in {path}", found, "a Study", "define study = Study(...) in the file"
        )
    return study


def _run_file(path: Path) -> ModuleType:
    """Import the file under a name of its own.

    The module is entered in sys.modules, where pydantic looks up annotations of specs that the
    study file itself defines.
    """
    name = f"quatrain_study_{path.stem}"
    location = importlib.util.spec_from_file_location(name, path)
    if location is None or location.loader is None:
        raise StudyError("study file", str(path), "a Python file", "give it the ending .py")
    folder = str(path.parent.absolute())
    if folder not in sys.path:
        sys.path.append(folder)  # last, so that a file beside the study stands for no other module
    module = importlib.util.module_from_spec(location)
    sys.modules[name] = module
    try:
        location.loader.exec_module(module)
    except QuatrainError as error:
        remedy = f"{error.remedy} in {_place(error, path)}"
        raise type(error)(error.field, error.value, error.expected, remedy) from error
    except SyntaxError as error:
        place = f"{error.filename} line {error.lineno}"
        raise StudyError(place, (error.text or "").strip(), "valid Python", error.msg) from error
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # sys.exit() too, and the panics of libraries in Rust
        _refuse_unknown_field(error, path)
        said = f"{type(error).__name__}: {error}".rstrip(".")
        raise StudyError("study file", _place(error, path), "a file that runs", said) from error
    return module


def _refuse_unknown_field(error: BaseException, path: Path) -> None:
    """Python's own error for a mistyped field of a dataclass does not say which there are."""
    found = re.match(r"(\w+)\.__init__\(\) got an unexpected keyword argument '(\w+)'", str(error))
    owner = {kind.__name__: kind for kind in (Study, Cell, Comparison)}.get(
        found[1] if found else ""
    )
    if found is None or owner is None:
        return
    known = ", ".join(each.name for each in fields(owner))
    remedy = f"mend the spelling in {_place(error, path)}"
    raise StudyError(f"field of {owner.__name__}", found[2], f"one of {known}", remedy) from error


def _place(error: BaseException, path: Path) -> str:
    lines = [
        frame.lineno
        for frame in traceback.extract_tb(error.__traceback__)
        if Path(frame.filename).resolve() == path.resolve()
    ]
    return f"{path} line {lines[-1]}" if lines else str(path)
