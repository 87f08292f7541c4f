"""The top-level statements of a Python source: what each says, binds and uses.

    LIMIT = 3                    binds LIMIT
    class Task(Base): ...        binds Task, uses Base and each global name in its methods
    Task.limit = LIMIT           binds Task (it changes it), uses Task and LIMIT

From these it follows which statements decide what a name stands for.
"""

import ast
import dis
from collections.abc import Iterator
from dataclasses import dataclass
from types import CodeType

_LOADS = {"LOAD_NAME", "LOAD_GLOBAL", "LOAD_FROM_DICT_OR_GLOBALS"}
_SCOPES = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Lambda)


@dataclass(frozen=True)
class Statement:
    """One statement, without comments, docstrings and layout."""

    text: str
    binds: frozenset[str]
    """The global names that it gives a value, or whose value it changes."""
    loads: frozenset[str]
    """The names that it, or a function in it, looks up globally."""
    imports: frozenset[str]
    """The modules that it may import, as they are written: with leading dots if relative."""
    binds_anything: bool
    """Whether it is a `from ... import *`."""


def statements_of(source: bytes) -> tuple[Statement, ...]:
    """The statements of a source, but for the one that defines `study`.

    A source that cannot be taken apart, since it is nested too deeply or is no Python, is one.
    """
    nothing = frozenset[str]()
    try:
        body = _Bare().visit(ast.parse(source)).body
        found = [_statement(node) for node in body if not _defines_study(node)]
    except (RecursionError, SyntaxError, ValueError):
        return (Statement(source.hex(), nothing, nothing, nothing, True),)
    return tuple(each for each in found if each.text != "Pass()")


def _statement(node: ast.stmt) -> Statement:
    code = compile(ast.Module([node], []), "<study>", "exec", dont_inherit=True)
    binds = set(_names(code, {"STORE_NAME", "DELETE_NAME"})) | set(_changed(node))
    loads: set[str] = set()
    for each in _code_objects(code):
        loads.update(_names(each, _LOADS))
        binds.update(_names(each, {"STORE_GLOBAL", "DELETE_GLOBAL"}))
    return Statement(
        _text(node),
        frozenset(binds),
        frozenset(loads),
        frozenset(_imports(node)),
        any(alias.name == "*" for alias in _walk_aliases(node)),
    )


def _code_objects(code: CodeType) -> Iterator[CodeType]:
    yield code
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _code_objects(constant)


def _names(code: CodeType, operations: set[str]) -> Iterator[str]:
    return (each.argval for each in dis.get_instructions(code) if each.opname in operations)


def _walk_aliases(node: ast.stmt) -> Iterator[ast.alias]:
    return (each for each in ast.walk(node) if isinstance(each, ast.alias))


def _imports(node: ast.stmt) -> Iterator[str]:
    for each in ast.walk(node):
        if isinstance(each, ast.Import):
            for alias in each.names:
                parts = alias.name.split(".")
                yield from (".".join(parts[: n + 1]) for n in range(len(parts)))
        elif isinstance(each, ast.ImportFrom):
            base = "." * each.level + (each.module or "")
            yield base
            dot = "" if base.endswith(".") else "."
            yield from (f"{base}{dot}{alias.name}" for alias in each.names)


def _changed(node: ast.AST) -> Iterator[str]:
    """Global names whose values a statement changes when it is run: `x.y = 1`, `x.append(1)`."""
    if isinstance(node, _SCOPES):
        return
    if isinstance(node, ast.Attribute | ast.Subscript) and not isinstance(node.ctx, ast.Load):
        yield from _base(node)
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):
        call = node.value
        if isinstance(call.func, ast.Attribute):
            yield from _base(call.func)
        elif isinstance(call.func, ast.Name) and call.func.id != "print":
            for argument in call.args:
                yield from _base(argument)
    for child in ast.iter_child_nodes(node):
        yield from _changed(child)


def _base(node: ast.expr) -> Iterator[str]:
    while isinstance(node, ast.Attribute | ast.Subscript):
        node = node.value
    if isinstance(node, ast.Name):
        yield node.id


def _defines_study(node: ast.stmt) -> bool:
    targets = node.targets if isinstance(node, ast.Assign) else []
    if isinstance(node, ast.AnnAssign):
        targets = [node.target]
    return [each.id for each in targets if isinstance(each, ast.Name)] == ["study"]


class _Bare(ast.NodeTransformer):
    """Takes out texts that stand alone: docstrings of modules, classes, functions and fields."""

    def visit_Expr(self, node: ast.Expr) -> ast.stmt:
        constant = node.value
        if isinstance(constant, ast.Constant) and isinstance(constant.value, str):
            return ast.copy_location(ast.Pass(), node)
        return node


def _text(node: object) -> str:
    """A node without positions and empty fields: Python 3.13 and older write the same."""
    if isinstance(node, ast.AST):
        fields = ((name, value) for name, value in ast.iter_fields(node) if name != "kind")
        inside = (f"{name}={_text(value)}" for name, value in fields if value not in (None, []))
        return f"{type(node).__name__}({','.join(inside)})"
    if isinstance(node, list):
        texts = [_text(each) for each in node]  # pyright: ignore[reportUnknownVariableType]
        return f"[{','.join(each for each in texts if each != 'Pass()')}]"
    return repr(node)
