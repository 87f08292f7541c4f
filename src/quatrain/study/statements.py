"""The top-level statements of a Python source: what each says, binds, uses and may change.

    LIMIT = 3                    binds LIMIT
    class Task(Base): ...        binds Task, uses Base and each global name in its methods
    Task.limit = LIMIT           binds Task (it changes it), uses Task and LIMIT
    x = register(Task)           binds x, calls register, may change Task

From these `quatrain.study.reach` finds which statements decide the value of a name.
"""

import ast
import dis
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from types import CodeType
from typing import TypeGuard

from quatrain.study.normal import normal_statements, text_of_node

_LOADS = {"LOAD_NAME", "LOAD_GLOBAL", "LOAD_FROM_DICT_OR_GLOBALS"}
_CONSTRUCTION = {"__init__", "__new__", "__post_init__", "model_post_init"}
_SUBCLASS = "__init_subclass__"
_Function = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True)
class Callable:
    """Effects of calling a function, or of making an instance of a class."""

    loads: frozenset[str]
    """The global names that its body looks up."""
    changes: frozenset[str]
    """The global names whose values its statements change: `x.y = 1`, `x.append(1)`."""


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
    calls: frozenset[str] = frozenset()
    """The names that it calls when it is run, decorators and `Base.__init_subclass__` included."""
    touches: frozenset[str] = frozenset()
    """The names that those calls may change: the base of a method, and the arguments."""
    callables: Mapping[str, Callable] = field(default_factory=dict[str, Callable])
    """The functions and classes that it defines."""
    is_definition: bool = False
    """Whether it defines a function or a class."""
    is_class: bool = False
    """Whether it defines a class."""


def statements_of(source: bytes) -> tuple[Statement, ...]:
    """The statements of a source, but for the one that defines `study`.

    A source that cannot be parsed, since it is nested too deeply or is no Python, is one statement.
    """
    nothing = frozenset[str]()
    try:
        found = [_statement(node) for node in normal_statements(source) if not _defines_study(node)]
    except (RecursionError, SyntaxError, ValueError):
        return (Statement(source.hex(), nothing, nothing, nothing, True),)
    return tuple(each for each in found if each.text != "Pass()")


def names_of_study(source: bytes) -> frozenset[str]:
    """The global names that the statement which defines `study` looks up."""
    try:
        found = [_statement(node) for node in normal_statements(source) if _defines_study(node)]
    except (RecursionError, SyntaxError, ValueError):
        return frozenset()
    return frozenset(name for each in found for name in each.loads)


def _statement(node: ast.stmt) -> Statement:
    code = _compiled(node)
    binds = set(_names(code, {"STORE_NAME", "DELETE_NAME"}))
    for each in _run_at_once(node):
        binds.update(_changed(each))
    for each in _code_objects(code):
        binds.update(_names(each, {"STORE_GLOBAL", "DELETE_GLOBAL"}))
    loads = _loads(code)
    calls, touches = _calls(node)
    return Statement(
        text_of_node(node),
        frozenset(binds),
        loads,
        frozenset(_imports(node)),
        any(alias.name == "*" for alias in _walk_aliases(node)),
        calls,
        touches,
        _callables(node, loads),
        isinstance(node, _Function | ast.ClassDef),
        isinstance(node, ast.ClassDef),
    )


def _compiled(*nodes: ast.stmt) -> CodeType:
    return compile(ast.Module(list(nodes), []), "<study>", "exec", dont_inherit=True)


def _code_objects(code: CodeType) -> Iterator[CodeType]:
    yield code
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _code_objects(constant)


def _names(code: CodeType, operations: set[str]) -> Iterator[str]:
    return (each.argval for each in dis.get_instructions(code) if each.opname in operations)


def _loads(code: CodeType) -> frozenset[str]:
    return frozenset(name for each in _code_objects(code) for name in _names(each, _LOADS))


def _walk_aliases(node: ast.stmt) -> Iterator[ast.alias]:
    return (each for each in ast.walk(node) if isinstance(each, ast.alias))


def _imports(node: ast.stmt) -> Iterator[str]:
    for each in ast.walk(node):
        if isinstance(each, ast.Import):
            for alias in each.names:
                yield from _with_parents(alias.name)
        elif isinstance(each, ast.ImportFrom):
            base = "." * each.level + (each.module or "")
            yield from ("." * each.level + name for name in _with_parents(each.module or ""))
            dot = "" if base.endswith(".") else "."
            yield from (f"{base}{dot}{alias.name}" for alias in each.names)


def _with_parents(module: str) -> Iterator[str]:
    parts = module.split(".")
    return (".".join(parts[: n + 1]) for n in range(len(parts)))


def _run_at_once(node: ast.AST) -> Iterator[ast.AST]:
    """The nodes that are run with a statement: bodies of functions are not, decorators are."""
    yield node
    if isinstance(node, _Function | ast.Lambda):
        decorators = [] if isinstance(node, ast.Lambda) else node.decorator_list
        inside = [*decorators, *node.args.defaults, *(x for x in node.args.kw_defaults if x)]
    else:
        inside = ast.iter_child_nodes(node)
    for child in inside:
        yield from _run_at_once(child)


def _changed(node: ast.AST) -> Iterator[str]:
    """Base names of an assignment to a part, and of a call whose value is not used."""
    if isinstance(node, ast.Attribute | ast.Subscript) and not isinstance(node.ctx, ast.Load):
        yield from _base(node)
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):
        call = node.value
        arguments = [*call.args, *(each.value for each in call.keywords)]
        if isinstance(call.func, ast.Attribute):
            yield from _base(call.func)
        elif isinstance(call.func, ast.Name) and call.func.id != "print":
            for argument in arguments:
                yield from _base(argument)


def _base(node: ast.expr) -> Iterator[str]:
    while isinstance(node, ast.Attribute | ast.Subscript):
        node = node.value
    if isinstance(node, ast.Name):
        yield node.id


def _calls(node: ast.stmt) -> tuple[frozenset[str], frozenset[str]]:
    """The names that a statement calls when it is run, and the names that the calls may change.

    Of a class body only calls count whose values are not used: the others make its fields.
    """
    calls, touches = set[str](), set[str]()
    for each in _run_at_once(node):
        if isinstance(each, ast.ClassDef):
            bases = (base.id for base in each.bases if isinstance(base, ast.Name))
            calls.update(f"{base}.{_SUBCLASS}" for base in bases)
    for called, arguments in _called(node):
        if isinstance(called, ast.Name):
            if called.id == "print":
                continue
            calls.add(called.id)
        else:
            touches.update(_names_in(called))
        for argument in arguments:
            touches.update(_names_in(argument))
    return frozenset(calls), frozenset(touches)


def _called(node: ast.stmt) -> Iterator[tuple[ast.expr, list[ast.expr]]]:
    """What a statement calls when it is run, and with which arguments."""
    parts: list[ast.AST] = [node]
    if isinstance(node, _Function | ast.ClassDef):
        yield from ((each, []) for each in node.decorator_list)
        parts = list(node.decorator_list)
    if isinstance(node, ast.ClassDef):
        parts += [*node.bases, *(each.value for each in node.keywords)]
        parts += [each for each in node.body if isinstance(each, ast.Expr | ast.For | ast.If)]
    for part in parts:
        for each in _run_at_once(part):
            if isinstance(each, ast.Call):
                yield each.func, [*each.args, *(keyword.value for keyword in each.keywords)]
            elif isinstance(each, _Function | ast.ClassDef):
                yield from ((decorator, []) for decorator in each.decorator_list)


def _names_in(node: ast.AST) -> Iterator[str]:
    return (each.id for each in ast.walk(node) if isinstance(each, ast.Name))


def _callables(node: ast.stmt, loads: frozenset[str]) -> dict[str, Callable]:
    """The functions and classes that a statement defines, and the names that it gives a value."""
    found: dict[str, Callable] = {}
    if isinstance(node, ast.Assign):
        targets = (each for target in node.targets for each in _run_at_once(target))
        names = (each.id for each in targets if _is_stored_name(each))
        found = {name: Callable(loads | {name}, frozenset()) for name in names}
    for each in _run_at_once(node):
        if isinstance(each, _Function):
            found[each.name] = _callable([each])
        elif isinstance(each, ast.ClassDef):
            bases = frozenset(base.id for base in each.bases if isinstance(base, ast.Name))
            found[each.name] = _callable(_methods(each, _CONSTRUCTION), bases)
            inherited = frozenset(f"{base}.{_SUBCLASS}" for base in bases)
            found[f"{each.name}.{_SUBCLASS}"] = _callable(_methods(each, {_SUBCLASS}), inherited)
    return found


def _is_stored_name(node: ast.AST) -> TypeGuard[ast.Name]:
    return isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)


def _methods(node: ast.ClassDef, names: set[str]) -> list[_Function]:
    return [each for each in node.body if isinstance(each, _Function) and each.name in names]


def _callable(functions: list[_Function], also: frozenset[str] = frozenset()) -> Callable:
    code = _compiled(*functions)
    loads = _loads(code)
    changes = {name for each in functions for inner in ast.walk(each) for name in _changed(inner)}
    stores = (_names(each, {"STORE_GLOBAL", "DELETE_GLOBAL"}) for each in _code_objects(code))
    return Callable(loads | also, frozenset((changes & loads).union(*stores)))


def _defines_study(node: ast.stmt) -> bool:
    targets = node.targets if isinstance(node, ast.Assign) else []
    if isinstance(node, ast.AnnAssign):
        targets = [node.target]
    return [each.id for each in targets if isinstance(each, ast.Name)] == ["study"]
