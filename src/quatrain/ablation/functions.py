"""The code of a user's functions: a hash of all that decides their results."""

import ast
import functools
import hashlib
import inspect
import linecache
import types
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from torch import nn

from quatrain.specs import StudyError
from quatrain.specs.errors import shorten
from quatrain.study.code import StudyCode
from quatrain.study.statements import statements_of, text_of_node

Function = Callable[..., Any]


def study_code(namespace: Mapping[str, Any], functions: Iterable[Function]) -> StudyCode:
    """The code of the file, or of the notebook, with these global names.

    Raises:
        StudyError: if the source of a function of a notebook cannot be read.
    """
    name, file = str(namespace.get("__name__")), namespace.get("__file__")
    if isinstance(file, str) and Path(file).is_file():
        return StudyCode(name, Path(file), package=str(namespace.get("__package__") or ""))
    roots: set[str] = set()
    modules: set[str] = set()
    for part in _parts(functions):
        roots |= {part.__qualname__.partition(".")[0], *_names_in_lambda(part)}
        modules |= {part.__module__} - {name}
    imports = [f"import {module}" for module in sorted(modules)]
    source = "\n".join([*imports, notebook_source(namespace, roots)])
    return StudyCode(name, Path("notebook"), source.encode())


def code_hash(functions: Iterable[Function], code: StudyCode) -> str:
    """The hash of the code that decides the results of `functions`, in hexadecimal.

    It covers the functions, the statements of the study file and whole modules of its folder that
    they depend on, the values that closures and `functools.partial` bind, and the attributes of
    objects whose methods are passed; of functions of installed packages only the names. Comments,
    docstrings and layout do not change it.
    """
    functions = [*functions]
    parts = [*_parts(functions)]
    own = {
        (part.__module__, name)
        for part in parts
        if code.has(part.__module__)
        for name in _roots(part)
    }
    texts = [code.hash_of(own)] if own else []
    for part in parts:
        texts += [part.__qualname__, *map(text_of_node, _lambda_nodes(part))]
    texts += [_value_text(value, code.has) for function in functions for value in _bound(function)]
    return hashlib.sha256("\n".join(texts).encode()).hexdigest()


def notebook_source(namespace: Mapping[str, Any], roots: Iterable[str]) -> str:
    """The definitions of the names `roots` and of all names that they use, as one source.

    Functions and classes of the notebook have their source; imported ones an import; numbers, texts
    and containers of these their value; all other objects only the name of their class.
    """
    texts: dict[str, str] = {}
    waiting = [*roots]
    while waiting:
        name = waiting.pop()
        if name not in texts and name in namespace:
            texts[name] = _definition(name, namespace[name])
            used = (statement.uses for statement in statements_of(texts[name].encode()))
            waiting.extend(frozenset[str]().union(*used))
    return "\n".join(texts[name] for name in sorted(texts))


def _parts(values: Iterable[object], outer: frozenset[int] = frozenset()) -> Iterator[Any]:
    """The functions and classes under partial applications, decorators, methods and objects."""
    for value in values:
        if id(value) in outer or not (callable(value) or hasattr(value, "__dict__")):
            continue
        yield from _parts(_bound(value), outer | {id(value)})
        part: Any = value
        while isinstance(part, functools.partial):
            part = part.func
        part = inspect.unwrap(part)
        part = getattr(part, "__func__", part)
        named = isinstance(part, type) or inspect.isroutine(part)
        yield part if named else type(part)


def _roots(part: Any) -> set[str]:
    """The global name of a function or class, or those that a lambda function uses."""
    name = part.__qualname__.partition(".")[0]
    return _names_in_lambda(part) & part.__globals__.keys() if name == "<lambda>" else {name}


def _bound(function: Any) -> list[object]:
    """The values that partial applications and closures bind, and attributes of own objects."""
    values: list[object] = []
    while isinstance(function, functools.partial):
        values += [*function.args, *(value for _, value in sorted(function.keywords.items()))]
        function = function.func
    if inspect.isfunction(function):
        return [*values, *inspect.getclosurevars(function).nonlocals.values()]
    return [*values, *_attributes(getattr(function, "__self__", function)).values()]


def _attributes(value: object) -> dict[str, object]:
    """The attributes of an object; none of a class, a module, a network or a builtin."""
    if isinstance(value, type | types.ModuleType | nn.Module) or inspect.isroutine(value):
        return {}
    return dict(sorted(getattr(value, "__dict__", {}).items()))


def _value_text(
    value: object, has: Callable[[str], bool], outer: frozenset[int] = frozenset()
) -> str:
    """A number, a text, or a container of these; of other objects the name of the class.

    Objects of classes in modules that the code `has` have their attributes too.
    """
    text = repr(value)
    if not isinstance(value, set | frozenset):
        with suppress(SyntaxError, ValueError):
            ast.literal_eval(text)
            return text
    name = getattr(value, "__qualname__", type(value).__qualname__)
    if id(value) in outer:
        return repr(name)
    inside: Iterable[object] = ()
    if isinstance(value, dict):
        inside = [item for pair in value.items() for item in pair]
    elif isinstance(value, list | tuple | set | frozenset):
        inside = value
    elif has(type(value).__module__):
        inside = [item for pair in _attributes(value).items() for item in pair]
    texts = [_value_text(item, has, outer | {id(value)}) for item in inside]
    texts = sorted(texts) if isinstance(value, set | frozenset) else texts
    return repr(f"{name}({', '.join(texts)})") if texts else repr(name)


def _definition(name: str, value: Any) -> str:
    if isinstance(value, types.ModuleType):
        return f"import {value.__name__} as {name}"
    if not isinstance(value, type | types.FunctionType):
        return f"{name} = {_value_text(value, {'__main__'}.__contains__)}"
    if value.__module__ == "__main__":
        return _source_of(value)
    return f"from {value.__module__} import {value.__qualname__.partition('.')[0]} as {name}"


def _source_of(value: Any) -> str:
    """The last definition of a function or class in the cell of a notebook that defined it."""
    methods = vars(value).values() if isinstance(value, type) else [value]
    files = {part.__code__.co_filename for part in methods if inspect.isfunction(part)}
    nodes = [
        node
        for file in files
        for node in ast.walk(_tree(file, value.__name__))
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and node.name == value.__name__
    ]
    return ast.unparse(nodes[-1]) if nodes else f"{value.__name__} = {value.__qualname__!r}"


def _lambda_nodes(part: Any) -> list[ast.Lambda]:
    """All lambda functions of the line of one; none for another function."""
    if part.__qualname__.rpartition(".")[2] != "<lambda>":
        return []
    code: types.CodeType = part.__code__
    nodes = ast.walk(_tree(code.co_filename, "a lambda function"))
    lambdas = [node for node in nodes if isinstance(node, ast.Lambda)]
    return [node for node in lambdas if node.lineno == code.co_firstlineno]


def _names_in_lambda(part: Any) -> set[str]:
    return {
        name.id
        for node in _lambda_nodes(part)
        for name in ast.walk(node)
        if isinstance(name, ast.Name)
    }


def _tree(filename: str, name: str) -> ast.Module:
    linecache.checkcache(filename)
    # From Python 3.13 on, "<string>" are the lines of `python -c`, also for code of exec().
    source = "" if filename == "<string>" else "".join(linecache.getlines(filename))
    if not source:
        raise StudyError(
            f"the source of {shorten(name)} cannot be read, so changes of it would go unnoticed; "
            "define it in a file or in a notebook",
            name,
        )
    return ast.parse(source)
