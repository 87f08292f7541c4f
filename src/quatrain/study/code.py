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
from importlib.util import find_spec, resolve_name
from pathlib import Path
from typing import cast

from quatrain.specs import Spec
from quatrain.study.statements import Statement, statements_of

_PACKAGE = Path(__file__).parents[1]
_STANDARD = {Path(sysconfig.get_path(each)).resolve() for each in ("stdlib", "platstdlib")}
_INSTALLED = {"site-packages", "dist-packages"}


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
        self._modules: dict[str, tuple[Statement, ...]] = {}
        self._files: dict[str, str] = {}
        self._spec_codes: dict[frozenset[tuple[str, str]], str | None] = {}
        wanted = {name: path}
        while wanted:
            module, file = wanted.popitem()
            self._modules[module] = statements_of(file.read_bytes())
            label = file.relative_to(self._folder).as_posix()
            self._files[label] = _digest(each.text for each in self._modules[module])
            imported = self._imported(module, self._modules[module])
            wanted |= {each: at for each, at in imported.items() if each not in self._modules}

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

    def _reached(self, roots: Iterable[tuple[str, str]]) -> set[str]:
        """The statements that the named classes reach; an imported module counts as a whole."""
        texts: set[str] = set()
        whole: set[str] = set()
        for module, name in roots:
            statements = _reachable(self._modules[module], name)
            texts.update(each.text for each in statements)
            whole.update(self._imported(module, statements))
        seen: set[str] = set()
        while whole - seen:
            module = min(whole - seen)
            seen.add(module)
            texts.update(each.text for each in self._modules[module])
            whole.update(self._imported(module, self._modules[module]))
        return texts

    def _imported(self, module: str, statements: Iterable[Statement]) -> dict[str, Path]:
        """The modules beside the study that `statements` import, and their files."""
        found: dict[str, Path] = {}
        for wanted in {each for statement in statements for each in statement.imports}:
            name = _absolute(wanted, module)
            file = _file_of(name)
            if file is not None and self._is_beside(file):
                found[name] = file
        return found

    def _is_beside(self, file: Path) -> bool:
        if file.suffix != ".py" or not file.is_relative_to(self._folder):
            return False
        if _INSTALLED & set(file.relative_to(self._folder).parts):
            return False
        return not any(file.is_relative_to(each) for each in (_PACKAGE, *_STANDARD))


def _reachable(statements: tuple[Statement, ...], name: str) -> list[Statement]:
    """The statements that decide what `name` is; all of them if none binds it."""
    wanted, reached = [name], set[str]()
    while wanted:
        each = wanted.pop()
        if each in reached:
            continue
        reached.add(each)
        for statement in statements:
            if each in statement.binds:
                wanted.extend(statement.loads)
    found = [each for each in statements if each.binds & reached or each.binds_anything]
    return found if any(name in each.binds for each in found) else list(statements)


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
    module = sys.modules.get(name)
    origin = getattr(module, "__dict__", {}).get("__file__")
    if module is None and (name.rpartition(".")[0] or "sys") in sys.modules:
        with suppress(ImportError, ValueError, AttributeError):
            found = find_spec(name)
            origin = found.origin if found is not None and found.has_location else None
    return _resolved(Path(origin)) if isinstance(origin, str) else None


def _resolved(path: Path) -> Path:
    """The path with its folder resolved: a link beside the study is beside it."""
    return path.parent.resolve() / path.name


def _digest(texts: Iterable[str]) -> str:
    return hashlib.sha256("\n".join(texts).encode(errors="surrogatepass")).hexdigest()
