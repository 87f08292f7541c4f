"""Loading of a study file: a Python file that defines `study = Study(...)`.

The file is executed, so any error can occur in it. Every error becomes one sentence with the file
and the line, in place of a traceback through importlib.
"""

import importlib.util
import io
import sys
import threading
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from contextvars import ContextVar
from pathlib import Path
from types import ModuleType

from quatrain.specs import QuatrainError, StudyError, name_missing_extra
from quatrain.specs.errors import shorten
from quatrain.study.code import StudyCode
from quatrain.study.grid import Study

_LONGEST_LINE = 200
_LOADING: ContextVar[bool] = ContextVar("loading", default=False)
_STREAMS = threading.RLock()
"""Held while sys.stdout and its like, which all threads share, are replaced."""
_FOLDERS: list[str] = []
"""The folders of studies at the end of sys.path, that of the latest first."""


def load_study(path: Path) -> Study:
    """The study that the file at `path` defines.

    The output of the file goes to stderr, its input is empty, and `sys.argv` is its path alone, as
    in a worker.

    Raises:
        StudyError: if there is no such file, it cannot be executed, or it defines no study.
        SpecError: if a spec in it contradicts itself; the sentence ends with file and line.
    """
    if not _is_file(path):
        raise StudyError(f"{shorten(str(path))} is no file; check the path", "study file")
    module, code = _import(path, path.absolute())
    study = vars(module).get("study")
    if not isinstance(study, Study):
        raise StudyError(f"{path} defines no study; write study = Study(...) in it", "study")
    return study.model_copy(update={"code": code})


def is_loading() -> bool:
    """Whether a study file is being executed by `load_study`."""
    return _LOADING.get()


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # a name that is too long for the system
        return False


def _import(path: Path, absolute: Path) -> tuple[ModuleType, StudyCode]:
    """Import the file under a unique name, and hash its code.

    The module is added to sys.modules, where pydantic looks up annotations of specs that the study
    file itself defines. Error messages have `path`; the file may change the current folder.
    """
    name = f"quatrain_study_{path.stem}"
    location = importlib.util.spec_from_file_location(name, absolute)
    if location is None or location.loader is None:
        raise StudyError(f"{path} is no Python file; give it the ending .py", "study file")
    folder = str(absolute.parent)
    _search_first_of_studies(folder)
    module = importlib.util.module_from_spec(location)
    sys.modules[name] = module
    try:
        with _STREAMS, _worker_streams(absolute), name_missing_extra():
            location.loader.exec_module(module)
        return module, StudyCode(name, absolute)
    except KeyboardInterrupt:
        raise
    except QuatrainError as error:
        where = _line_of(error, path, absolute)
        raise type(error)(f"{error} ({where})", error.field) from error
    except SyntaxError as error:
        file = path if _is_same(error.filename, absolute) else error.filename
        line = (error.text or "").strip()[:_LONGEST_LINE]
        message = f"{file} line {error.lineno}: {error.msg}: {line}"
        raise StudyError(message, "study file") from error
    except BaseException as error:  # also SystemExit, and the panics of libraries in Rust
        message = " ".join(f"{type(error).__name__}: {error}".split())
        if isinstance(error, ImportError) and "no known parent package" in str(error):
            message = (
                "a study file belongs to no package, so it cannot use relative imports; write "
                "`from name import ...` for a file of its folder, or the package's full name"
            )
        where = _line_of(error, path, absolute)
        raise StudyError(f"{where}: {message}", "study file") from error


def _search_first_of_studies(folder: str) -> None:
    """Find modules in this folder before those of other studies, and after all others.

    A module that another study has imported from its folder is imported again where this folder has
    one of that name: the study would run the code of the other.
    """
    others = {*_FOLDERS} - {folder}
    hidden = {
        name
        for name, module in sys.modules.items()
        if _folder_of(module) in others
        and (Path(folder, f"{name}.py").is_file() or Path(folder, name, "__init__.py").is_file())
    }
    for name in [name for name in sys.modules if name.partition(".")[0] in hidden]:
        del sys.modules[name]
    if folder not in sys.path or folder in _FOLDERS:
        sys.path[:] = [path for path in sys.path if path not in _FOLDERS]
        _FOLDERS[:] = [folder, *(other for other in _FOLDERS if other != folder)]
        sys.path += _FOLDERS


def _folder_of(module: ModuleType) -> str | None:
    """The folder in which a module or package lies."""
    file = getattr(module, "__file__", None)
    if not isinstance(file, str):
        return None
    path = Path(file)
    return str(path.parent.parent if path.name == "__init__.py" else path.parent)


@contextmanager
def _worker_streams(absolute: Path) -> Iterator[None]:
    """Give the file the streams and arguments of a worker: no terminal, no input, no options."""
    stdin, argv = sys.stdin, sys.argv
    sys.stdin, sys.argv = io.StringIO(), [str(absolute)]
    loading = _LOADING.set(True)
    try:
        with redirect_stdout(sys.stderr):
            yield
    finally:
        _LOADING.reset(loading)
        sys.stdin, sys.argv = stdin, argv


def _line_of(error: BaseException, path: Path, absolute: Path) -> str:
    frames = traceback.extract_tb(error.__traceback__)
    lines = [frame.lineno for frame in frames if _is_same(frame.filename, absolute)]
    return f"{path} line {lines[-1]}" if lines else str(path)


def _is_same(filename: str | None, absolute: Path) -> bool:
    return filename is not None and Path(filename).resolve() == absolute.resolve()
