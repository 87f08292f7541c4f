"""Hashes of a study's own code: the study file and the modules in its folder that it imports.

A spec has the fields that decide a run, and not the code that reads them. For specs whose classes
the study defines itself, a second hash covers that code: the statements of the study file that
their classes depend on, and whole modules in its folder. Comments, docstrings and layout are in no
hash, nor is the statement that defines `study`: cells and seeds may be added and removed.
"""

import hashlib
import sys
import sysconfig
from collections.abc import Iterable, Iterator
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import cast

from quatrain.specs import Spec
from quatrain.study.statements import Statement, select, statements_of

_RULE = "2:"
"""Prefix of the hashes of this rule; those of another rule cannot be compared."""

_FOREIGN = {Path(sysconfig.get_path(name)).resolve() for name in ("stdlib", "platstdlib")} | {
    Path(__file__).parents[1]
}
_INSTALLED = {"site-packages", "dist-packages"}


class StudyCode:
    """The code of a study file and of the modules in its folder, as it was when it was loaded.

    `name` is the study file's name in sys.modules; `source` replaces the content of a file, for a
    study that is defined in a notebook; relative imports start from `package`.
    """

    def __init__(
        self, name: str, path: Path, source: bytes | None = None, package: str = ""
    ) -> None:
        path = _resolved(path)
        self._name, self._folder = name, path.parent
        source = path.read_bytes() if source is None else source
        self._statements = {name: statements_of(source, package)}
        hashed = (part for part in self._statements[name] if not part.is_study)
        self.files: dict[str, str] = {path.name: _digest(hashed)}
        """The hash of each file, by its path from the folder of the study file."""
        self._spec_codes: dict[frozenset[tuple[str, str]], str] = {}
        self._known_specs: dict[int, tuple[Spec, str | None]] = {}
        """By the address of a spec, which stays its own as long as the spec is kept here."""
        waiting = _imports(self._statements[name])
        while waiting:
            module = waiting.pop()
            file = None if module in self._statements else self._own_file(module)
            if file is not None:
                package = module if file.stem == "__init__" else module.rpartition(".")[0]
                statements = statements_of(file.read_bytes(), package)
                self._statements[module] = statements
                self.files[file.relative_to(self._folder).as_posix()] = _digest(statements)
                waiting |= _imports(statements)

    def spec_code(self, spec: Spec) -> str | None:
        """The hash of the code of the spec's own classes; None if the study defines none."""
        if id(spec) not in self._known_specs:
            self._known_specs[id(spec)] = spec, self._spec_code(spec)
        return self._known_specs[id(spec)][1]

    def _spec_code(self, spec: Spec) -> str | None:
        classes = {
            (kind.__module__, kind.__qualname__.partition(".")[0]) for kind in _classes(spec)
        }
        defined = frozenset(names for names in classes if self.has(names[0]))
        if defined and defined not in self._spec_codes:
            self._spec_codes[defined] = self.hash_of(defined)
        return self._spec_codes.get(defined)

    def has(self, module: str) -> bool:
        """Whether it is the study file or a module in its folder that the file imports."""
        return module in self._statements

    def hash_of(self, defined: Iterable[tuple[str, str]]) -> str:
        """The hash of the code of functions and classes, each with its module and name."""
        defined = [*defined]
        roots = {name for module, name in defined if module == self._name}
        reached = select(self._statements[self._name], roots) if roots else []
        waiting = _imports(reached) | {module for module, _ in defined} - {self._name}
        modules = set[str]()
        while waiting:
            module = waiting.pop()
            if module in self._statements and module not in modules:
                modules.add(module)
                waiting |= _imports(self._statements[module])
        whole = (part for module in modules for part in self._statements[module])
        return _digest(sorted({*reached, *whole}, key=lambda statement: statement.text))

    def _own_file(self, module: str) -> Path | None:
        """The file of a module that lies in the folder of the study; nothing is imported for it."""
        file = _file_of(module)
        if file is None or file.suffix != ".py" or not file.is_relative_to(self._folder):
            return None
        if _INSTALLED & set(file.relative_to(self._folder).parts):
            return None
        return None if any(file.is_relative_to(folder) for folder in _FOREIGN) else file


def _classes(value: object) -> Iterator[type]:
    """The classes of a spec and of the values of its fields, with their bases."""
    yield from type(value).__mro__
    inside: Iterable[object] = ()
    if isinstance(value, Spec):
        inside = (item for _, item in value)
    elif isinstance(value, dict):
        inside = (item for pair in cast("dict[object, object]", value).items() for item in pair)
    elif isinstance(value, tuple | list | set | frozenset):
        inside = cast("Iterable[object]", value)
    for item in inside:
        yield from _classes(item)


def _imports(statements: Iterable[Statement]) -> set[str]:
    """The modules that the statements import, with their parent packages."""
    names = [name.split(".") for statement in statements for name in statement.imports]
    return {".".join(parts[: n + 1]) for parts in names for n in range(len(parts))}


def _file_of(module: str) -> Path | None:
    """The file of a module, loaded or not."""
    if module in sys.modules:
        origin = getattr(sys.modules[module], "__file__", None)
        return _resolved(Path(origin)) if isinstance(origin, str) else None
    top, *inner = module.split(".")
    spec = None
    with suppress(ImportError, ValueError, AttributeError):
        spec = find_spec(top)
    for folder in (spec and spec.submodule_search_locations) or () if inner else ():
        path = Path(folder, *inner)
        for file in (path / "__init__.py", path.with_suffix(".py")):
            if file.is_file():
                return _resolved(file)
    return _resolved(Path(spec.origin)) if spec and spec.origin and not inner else None


def _resolved(path: Path) -> Path:
    """The path with its folder resolved: a link in the study's folder is a file of the study."""
    return path.parent.resolve() / path.name


def _digest(statements: Iterable[Statement]) -> str:
    texts = "\n".join(statement.text for statement in statements)
    return _RULE + hashlib.sha256(texts.encode(errors="surrogatepass")).hexdigest()
