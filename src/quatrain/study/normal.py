"""Normal form of a Python source: edits that cannot change a result leave it unchanged.

Comments, layout, docstrings, the order of imported names, `if __name__ == "__main__"` and the
annotations of arguments, returns and variables (but not of fields) are left out.
"""

import ast

_PLAIN_DECORATORS = {"property", "staticmethod", "classmethod"}
"""Decorators that do not read annotations."""


def normal_statements(source: bytes) -> list[ast.stmt]:
    """The top-level statements in normal form; one statement for each imported name.

    Raises:
        SyntaxError: if it is not Python; ValueError or RecursionError if it cannot be parsed.
    """
    body: list[ast.stmt] = _Normal().visit(ast.parse(source)).body
    return [each for each in body if not _is_main_guard(each)]


def text_of_node(node: object) -> str:
    """A node without positions and empty fields: all versions of Python write the same text."""
    if isinstance(node, ast.AST):
        fields = [(name, value) for name, value in ast.iter_fields(node) if name != "kind"]
        if isinstance(node, ast.JoinedStr):  # Python 3.12 ends some formats in an empty text
            fields = [("values", [each for each in node.values if not _is_empty_text(each)])]
        inside = (f"{name}={text_of_node(value)}" for name, value in fields if _is_given(value))
        return f"{type(node).__name__}({','.join(inside)})"
    if isinstance(node, list):
        texts = [text_of_node(each) for each in node]  # pyright: ignore[reportUnknownVariableType]
        return f"[{','.join(each for each in texts if each != 'Pass()')}]"
    return repr(node)


def _is_given(value: object) -> bool:
    return value is not None and value != []


def _is_empty_text(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and node.value == ""


def _is_main_guard(node: ast.stmt) -> bool:
    """Whether it is `if __name__ == "__main__":`, which is not run when a study is loaded."""
    if not isinstance(node, ast.If) or node.orelse or not isinstance(node.test, ast.Compare):
        return False
    return ast.unparse(node.test) == "__name__ == '__main__'"


class _Normal(ast.NodeTransformer):
    def __init__(self) -> None:
        self._in_class = False

    def visit_Expr(self, node: ast.Expr) -> ast.stmt:
        """Take out texts that stand alone: docstrings of modules, classes, functions and fields."""
        constant = node.value
        if isinstance(constant, ast.Constant) and isinstance(constant.value, str):
            return ast.copy_location(ast.Pass(), node)
        return node

    def visit_Import(self, node: ast.Import) -> list[ast.stmt]:
        return [
            ast.copy_location(ast.Import([alias]), node)
            for alias in sorted(node.names, key=_alias_order)
        ]

    def visit_ImportFrom(self, node: ast.ImportFrom) -> list[ast.stmt]:
        return [
            ast.copy_location(ast.ImportFrom(node.module, [alias], node.level), node)
            for alias in sorted(node.names, key=_alias_order)
        ]

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        return self._function(node)

    def visit_AsyncFunctionDef(self, node: ast.AsyncFunctionDef) -> ast.AST:
        return self._function(node)

    def visit_ClassDef(self, node: ast.ClassDef) -> ast.AST:
        return self._visited(node, in_class=True)

    def visit_AnnAssign(self, node: ast.AnnAssign) -> ast.stmt:
        if self._in_class:
            return node
        if node.value is None:
            return ast.copy_location(ast.Pass(), node)
        return ast.copy_location(ast.Assign([node.target], node.value), node)

    def _function(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> ast.AST:
        names = {each.id if isinstance(each, ast.Name) else "" for each in node.decorator_list}
        if names <= _PLAIN_DECORATORS:
            node.returns = None
            arguments = node.args
            every = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]
            for argument in (*every, arguments.vararg, arguments.kwarg):
                if argument is not None:
                    argument.annotation = None
        return self._visited(node, in_class=False)

    def _visited(self, node: ast.AST, *, in_class: bool) -> ast.AST:
        before, self._in_class = self._in_class, in_class
        self.generic_visit(node)
        self._in_class = before
        return node


def _alias_order(alias: ast.alias) -> tuple[str, str]:
    return alias.name, alias.asname or ""
