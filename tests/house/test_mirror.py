import ast
from pathlib import Path

ROOT = Path(__file__).parents[2]
SOURCE, TESTS = ROOT / "src" / "quatrain", ROOT / "tests"
HOUSE_WIDE = {"house", "end_to_end"}
"""Rooms of tests that are about the whole and mirror no module."""


def holds_code(path):
    """Whether a module defines a function or a class."""
    found = ast.parse(path.read_text()).body
    return any(isinstance(node, ast.FunctionDef | ast.ClassDef) for node in found)


def modules():
    return {
        path.relative_to(SOURCE).with_suffix("")
        for path in SOURCE.rglob("*.py")
        if path.stem not in {"__init__", "__main__"}
    }


def test_each_module_with_code_has_its_test_file():
    without = [
        str(name)
        for name in sorted(modules())
        if holds_code(SOURCE / name.with_suffix(".py"))
        and not (TESTS / name.parent / f"test_{name.name}.py").exists()
    ]
    assert without == []


def test_each_test_file_has_its_module():
    known = modules()
    tested = [
        path.relative_to(TESTS)
        for path in TESTS.rglob("test_*.py")
        if path.relative_to(TESTS).parts[0] not in HOUSE_WIDE
    ]
    astray = [
        str(path) for path in tested if path.parent / path.stem.removeprefix("test_") not in known
    ]
    assert sorted(astray) == []
