"""Top-level statements of a Python source, without comments, docstrings and layout.

Each statement knows the global names that it binds and uses. `select` follows these names from a
class to the statements that its code depends on.
"""

import ast
import dis
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from importlib.util import resolve_name
from types import CodeType

_LOADS = {"LOAD_NAME", "LOAD_GLOBAL", "LOAD_FROM_DICT_OR_GLOBALS"}
_LOCAL_STORES = {"STORE_NAME", "DELETE_NAME"}
_GLOBAL_STORES = {"STORE_GLOBAL", "DELETE_GLOBAL"}


@dataclass(frozen=True)
class Statement:
    """One top-level statement; an import of several names is one statement for each."""

    text: str
    """Its syntax tree, written alike by all versions of Python."""
    binds: frozenset[str] = frozenset()
    """Global names that it imports, defines, assigns, or whose value it changes (`x.y = 1`)."""
    uses: frozenset[str] = frozenset()
    """Global names that it, or a function in it, reads."""
    imports: frozenset[str] = frozenset()
    """Absolute names of modules that it may import."""
    calls: bool = True
    """Whether importing the module calls something here: a function, a decorator, a base class, a
    metaclass. True for a star import too, whose names are unknown."""

    @property
    def is_study(self) -> bool:
        """Whether it defines `study` and nothing else."""
        return self.binds == {"study"}


def statements_of(source: bytes, package: str = "") -> tuple[Statement, ...]:
    """The statements of a file; a single one for a file that cannot be parsed.

    Relative imports start from `package`.
    """
    try:
        nodes = [part for node in ast.parse(source).body for part in _split(node)]
        return tuple(_statement(node, package) for node in nodes if not _is_idle(node))
    except (RecursionError, SyntaxError, ValueError):
        return (Statement(source.hex()),)


def select(statements: Sequence[Statement], roots: set[str]) -> list[Statement]:
    """The statements that decide the code of the classes named `roots`.

    These are the statements that bind a root, or a name that such a statement uses, and so on.
    A statement that calls something and binds nothing that `study` is built from (`setup(3)`,
    `@register class Net`) always counts, since the call may change any value; so does a star
    import, which may bind any name. The statement that defines `study` never counts. All others
    count if no statement binds one of the roots.
    """
    others = [statement for statement in statements if not statement.is_study]
    if not roots <= {name for statement in others for name in statement.binds}:
        return others
    of_study = _closure(statements, {"study"})
    always = [other for other in others if other.calls and not other.binds & of_study]
    names = _closure(others, roots.union(*(other.uses for other in always)))
    return [other for other in others if other.binds & names or other in always]


def _closure(statements: Sequence[Statement], names: Iterable[str]) -> set[str]:
    """The names, and all names from which the statements that bind them are built."""
    reached, waiting = set[str](), list(names)
    while waiting:
        name = waiting.pop()
        if name not in reached:
            reached.add(name)
            binding = [statement for statement in statements if name in statement.binds]
            waiting.extend(use for statement in binding for use in statement.uses)
    return reached


def _split(node: ast.stmt) -> list[ast.stmt]:
    """An import statement for each imported name; any other statement as it is."""
    if isinstance(node, ast.Import):
        parts = [ast.Import([name]) for name in node.names]
    elif isinstance(node, ast.ImportFrom):
        parts = [ast.ImportFrom(node.module, [name], node.level) for name in node.names]
    else:
        return [node]
    return [ast.copy_location(part, node) for part in parts]


def _is_idle(node: ast.stmt) -> bool:
    """Whether no result can depend on the statement."""
    if getattr(node, "orelse", ()):
        return False
    idle = ("if __name__ == '__main__':", "print(")
    return _is_docstring(node) or ast.unparse(node).startswith(idle)


def _is_docstring(node: object) -> bool:
    constant = node.value if isinstance(node, ast.Expr) else None
    return isinstance(constant, ast.Constant) and isinstance(constant.value, str)


def _statement(node: ast.stmt, package: str) -> Statement:
    code = compile(ast.Module([node], []), "<study>", "exec", dont_inherit=True)
    nested = list(_code_objects(code))
    stores = (_names(part, _GLOBAL_STORES) for part in nested)
    changes = set[str]()
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        base_classes = [*getattr(node, "bases", ()), *getattr(node, "keywords", ())]
        calls = bool(node.decorator_list or base_classes)
    else:
        calls = any(isinstance(part, ast.Call) or _is_star(part) for part in ast.walk(node))
        changes = {name for part in ast.walk(node) for name in _changed_name(part)}
    return Statement(
        text_of_node(node),
        _names(code, _LOCAL_STORES).union(changes, *stores),
        frozenset[str]().union(*(_names(part, _LOADS) for part in nested)),
        frozenset(_imports(node, package)),
        calls,
    )


def _is_star(node: ast.AST) -> bool:
    return isinstance(node, ast.alias) and node.name == "*"


def text_of_node(node: object) -> str:
    """The text of a syntax tree without positions, empty fields and docstrings."""
    if isinstance(node, ast.AST):
        fields = [(name, value) for name, value in ast.iter_fields(node) if name != "kind"]
        if isinstance(node, ast.JoinedStr):  # Python 3.12 ends some formats in an empty text
            empty = ast.dump(ast.Constant(""))
            fields = [("values", [part for part in node.values if ast.dump(part) != empty])]
        inside = (f"{name}={text_of_node(value)}" for name, value in fields if value is not None)
        return f"{type(node).__name__}({','.join(text for text in inside if text[-3:] != '=[]')})"
    if isinstance(node, list):
        items: list[object] = [item for item in node if not isinstance(item, ast.Pass)]
        return f"[{','.join(text_of_node(item) for item in items if not _is_docstring(item))}]"
    return repr(node)


def _code_objects(code: CodeType) -> Iterator[CodeType]:
    yield code
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _code_objects(constant)


def _names(code: CodeType, operations: set[str]) -> frozenset[str]:
    return frozenset(
        step.argval for step in dis.get_instructions(code) if step.opname in operations
    )


def _changed_name(node: ast.AST) -> list[str]:
    """The base name of an assignment to a part, or of a method call whose value is not used."""
    part = (
        node.value.func if isinstance(node, ast.Expr) and isinstance(node.value, ast.Call) else node
    )
    if not isinstance(part, ast.Attribute | ast.Subscript):
        return []
    is_read = part is node and isinstance(part.ctx, ast.Load)
    return [] if is_read else re.findall(r"^\w+(?=[.\[])", ast.unparse(part))


def _imports(node: ast.stmt, package: str) -> Iterator[str]:
    for part in ast.walk(node):
        if isinstance(part, ast.Import):
            yield from (name.name for name in part.names)
        elif isinstance(part, ast.ImportFrom):
            module = "." * part.level + (part.module or "")
            with suppress(ImportError):  # relative, and outside of a package
                module = resolve_name(module, package) if part.level else module
                yield from (f"{module}.{name.name}" for name in part.names)
