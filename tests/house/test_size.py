import ast
from pathlib import Path

ROOT = Path(__file__).parents[2]
FILES = sorted(path for room in ("src", "tests", "studies") for path in (ROOT / room).rglob("*.py"))
LONGEST_FILE, LONGEST_FUNCTION = 400, 60
KERNELS = "src/quatrain/ops/attention/triton"
"""In this folder an algorithm that is read as a whole stays in one file, and a kernel has many
arguments, one per line: files may have 700 lines, and functions 80."""

NESTS = (ast.For, ast.While, ast.If, ast.With, ast.Try, ast.AsyncFor, ast.AsyncWith, ast.Match)


def functions(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def depth(node, inside=0):
    """How many blocks deep the deepest statement is; `elif` is no deeper than its `if`."""
    deepest = inside
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            continue
        opens = isinstance(child, NESTS) and not is_elif(node, child)
        deepest = max(deepest, depth(child, inside + opens))
    return deepest


def is_elif(parent, child):
    chained = isinstance(parent, ast.If) and isinstance(child, ast.If)
    return chained and parent.orelse == [child]


def place(path, node):
    return f"{path.relative_to(ROOT)}:{node.lineno} {node.name}"


def is_kernel(path):
    return path.parent.relative_to(ROOT).as_posix() == KERNELS


def test_no_file_is_too_long():
    lengths = {path: len(path.read_text().splitlines()) for path in FILES}
    assert {
        path: n for path, n in lengths.items() if n > (700 if is_kernel(path) else LONGEST_FILE)
    } == {}


def test_no_function_is_too_long():
    lengths = {
        place(path, node): node.end_lineno - node.lineno + 1
        for path in FILES
        for node in functions(path)
        if node.end_lineno - node.lineno >= (80 if is_kernel(path) else LONGEST_FUNCTION)
    }
    assert lengths == {}


def test_no_statement_is_nested_more_than_three_blocks_deep():
    depths = {place(path, node): depth(node) for path in FILES for node in functions(path)}
    assert {name: deep for name, deep in depths.items() if deep > 3} == {}


def test_depth_counts_blocks_and_not_elifs():
    source = """
def f():
    if a:
        for b in c:
            pass
    elif d:
        while e:
            pass
    else:
        with g:
            if h:
                pass
"""
    assert depth(ast.parse(source).body[0]) == 3
