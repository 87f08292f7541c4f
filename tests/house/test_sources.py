import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "src" / "quatrain"
SCIENCE = sorted(
    path
    for room in ("ops", "nn")
    for path in (SOURCE / room).rglob("*.py")
    if path.stem != "__init__" and not path.stem.startswith("_")
)
LINE = re.compile(r"^\s*(Source|Differs): *(.*)$", re.MULTILINE)


def docstrings(path):
    kinds = ast.Module | ast.ClassDef | ast.FunctionDef
    tree = ast.parse(path.read_text())
    return [ast.get_docstring(node) or "" for node in ast.walk(tree) if isinstance(node, kinds)]


@pytest.mark.parametrize("path", SCIENCE, ids=lambda path: str(path.relative_to(SOURCE)))
def test_each_module_of_ops_and_nn_cites_its_source(path):
    assert any("Source:" in text for text in docstrings(path))


def test_no_source_or_difference_is_empty():
    empty = [
        f"{path.relative_to(ROOT)}: {kind}"
        for path in SOURCE.rglob("*.py")
        for text in docstrings(path)
        for kind, said in LINE.findall(text)
        if not said.strip()
    ]
    assert empty == []
