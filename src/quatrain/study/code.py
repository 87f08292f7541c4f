"""Hashes of a study's own code: the study file and the modules beside it that it imports.

A spec holds the fields that decide a run, and not the code that reads them. For specs that the
study defines itself, the code that their classes reach is therefore hashed too. Comments,
docstrings and layout are in no hash, nor is the statement that defines `study`: seeds and cells
may come and go.
"""

import hashlib
import sys
import sysconfig
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from enum import Enum
from importlib.machinery import ModuleSpec
from importlib.util import find_spec, resolve_name
from pathlib import Path, PurePath
from typing import cast

from quatrain.specs import Spec
from quatrain.study.reach import grid_names, reachable
from quatrain.study.statements import Statement, names_of_study, statements_of

_PACKAGE = Path(__file__).parents[1]
_STANDARD = {Path(sysconfig.get_path(each)).resolve() for each in ("stdlib", "platstdlib")}
_INSTALLED = {"site-packages", "dist-packages"}


@dataclass(frozen=True)
class _Module:
    statements: tuple[Statement, ...]
    grid: frozenset[str]
    imports: dict[str, str]
    """The modules beside the study that it imports, by how they are written."""
    constants: frozenset[str]

    def reachable(self, name: str) -> list[int]:
        beside = {
            bound
            for position, each in enumerate(self.statements)
            if self.imported_by(position) and not each.is_definition
            for bound in each.binds
        }
        return reachable(
            self.statements,
            name,
            grid=self.grid,
            beside=frozenset(beside),
            constant=self.constants,
        )

    def imported_by(self, position: int) -> set[str]:
        """The modules beside the study that a statement imports."""
        wanted = self.statements[position].imports
        return {self.imports[each] for each in wanted if each in self.imports}


@dataclass(frozen=True)
class RunCode:
    """The hashes that a run's record keeps."""

    code: dict[str, str]
    """Of each file of the study, by its path from the folder of the study file."""
    spec_code: str | None
    """Of what the spec's own classes reach; None where the study defines none of them."""


class StudyCode:
    """The code of a study file and of the modules beside it, as it was when it was loaded.

    Args:
        name: The study file's name in sys.modules.
        path: Where it lies.
    """

    def __init__(self, name: str, path: Path) -> None:
        path = _resolved(path)
        self._folder = path.parent
        self._modules: dict[str, _Module] = {}
        self._files: dict[str, str] = {}
        self._spec_codes: dict[frozenset[tuple[str, str]], str | None] = {}
        wanted = {name: path}
        while wanted:
            module, file = wanted.popitem()
            source = file.read_bytes()
            statements = statements_of(source)
            imported = self._imported(module, statements)
            self._modules[module] = _Module(
                statements,
                grid_names(statements, names_of_study(source)),
                {each: found for each, (found, _) in imported.items()},
                _constants(module),
            )
            label = file.relative_to(self._folder).as_posix()
            self._files[label] = _digest(each.text for each in statements)
            wanted |= {each: at for each, at in imported.values() if each not in self._modules}

    @property
    def files(self) -> dict[str, str]:
        """The hash of each file, by its path from the folder of the study file."""
        return self._files

    def of(self, spec: Spec) -> RunCode:
        """The hashes for a run of `spec`."""
        roots = frozenset(_own_names(spec, self._modules))
        if roots not in self._spec_codes:
            texts = self._reached(roots)
            self._spec_codes[roots] = _digest(sorted(texts)) if texts else None
        return RunCode(self._files, self._spec_codes[roots])

    def _reached(self, roots: Iterable[tuple[str, str]]) -> list[str]:
        """The statements that the named classes reach; an imported module counts as a whole."""
        reached: set[tuple[str, int]] = set()
        for module, name in roots:
            reached.update((module, each) for each in self._modules[module].reachable(name))
        wanted = [self._modules[module].imported_by(each) for module, each in reached]
        whole = set[str]()
        while wanted:
            for module in wanted.pop() - whole:
                whole.add(module)
                positions = range(len(self._modules[module].statements))
                reached.update((module, each) for each in positions)
                wanted += [self._modules[module].imported_by(each) for each in positions]
        return [self._modules[module].statements[each].text for module, each in reached]

    def _imported(
        self, module: str, statements: Iterable[Statement]
    ) -> dict[str, tuple[str, Path]]:
        """Of each import, as it is written, of a module beside the study: its name and file."""
        found: dict[str, tuple[str, Path]] = {}
        for wanted in {each for statement in statements for each in statement.imports}:
            name = _absolute(wanted, module)
            file = _file_of(name)
            if file is not None and self._is_beside(file):
                found[wanted] = name, file
        return found

    def _is_beside(self, file: Path) -> bool:
        if file.suffix != ".py" or not file.is_relative_to(self._folder):
            return False
        if _INSTALLED & set(file.relative_to(self._folder).parts):
            return False
        return not any(file.is_relative_to(each) for each in (_PACKAGE, *_STANDARD))


def _constants(module: str) -> frozenset[str]:
    """The global names of a loaded module whose values no call can change."""
    values = vars(sys.modules[module]) if module in sys.modules else {}
    return frozenset(name for name, value in values.items() if _is_constant(value))


def _is_constant(value: object) -> bool:
    if isinstance(value, tuple | frozenset):
        return all(map(_is_constant, cast("Iterable[object]", value)))
    return value is None or isinstance(
        value, str | bytes | int | float | complex | range | Enum | PurePath | Spec
    )


def _own_names(value: object, modules: Iterable[str]) -> Iterator[tuple[str, str]]:
    """Module and name of each class, among those of `modules`, that a spec or its fields have."""
    for kind in type(value).__mro__:
        if kind.__module__ in modules:
            yield kind.__module__, kind.__qualname__.partition(".")[0]
    if isinstance(value, Spec):
        for _, held in value:
            yield from _own_names(held, modules)
    elif isinstance(value, dict):
        for held in cast("dict[object, object]", value).items():
            yield from _own_names(held, modules)
    elif isinstance(value, tuple | list | set | frozenset):
        for held in cast("Iterable[object]", value):
            yield from _own_names(held, modules)


def _absolute(name: str, module: str) -> str:
    if not name.startswith("."):
        return name
    package = getattr(sys.modules.get(module), "__package__", None) or module.rpartition(".")[0]
    with suppress(ImportError):  # beyond the top-level package
        return resolve_name(name, package)
    return name


def _file_of(name: str) -> Path | None:
    """The file of a module that is loaded or can be; nothing is imported to find out."""
    if name in sys.modules:
        origin = getattr(sys.modules[name], "__dict__", {}).get("__file__")
        return _resolved(Path(origin)) if isinstance(origin, str) else None
    parent, _, last = name.rpartition(".")
    if parent:
        files = (file for folder in _folders_of(parent) for file in _sources(folder, last))
        return next((_resolved(file) for file in files if file.is_file()), None)
    found = _found(name)
    return _resolved(Path(found.origin)) if found and found.has_location and found.origin else None


def _folders_of(package: str) -> list[Path]:
    """The folders of a package, which need not be loaded, in which its modules lie."""
    if package in sys.modules:
        return [Path(each) for each in getattr(sys.modules[package], "__path__", ())]
    parent, _, last = package.rpartition(".")
    if parent:
        return [folder / last for folder in _folders_of(parent) if (folder / last).is_dir()]
    found = _found(package)
    return [Path(each) for each in (found and found.submodule_search_locations) or ()]


def _sources(folder: Path, module: str) -> tuple[Path, Path]:
    return folder / module / "__init__.py", folder / f"{module}.py"


def _found(name: str) -> ModuleSpec | None:
    with suppress(ImportError, ValueError, AttributeError):
        return find_spec(name) if name else None
    return None


def _resolved(path: Path) -> Path:
    """The path with its folder resolved: a link beside the study is beside it."""
    return path.parent.resolve() / path.name


def _digest(texts: Iterable[str]) -> str:
    return hashlib.sha256("\n".join(texts).encode(errors="surrogatepass")).hexdigest()
