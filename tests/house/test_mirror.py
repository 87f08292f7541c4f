import ast
from pathlib import Path

ROOT = Path(__file__).parents[2]
SOURCE, TESTS = ROOT / "src" / "quatrain", ROOT / "tests"
HOUSE_WIDE = {"house", "end_to_end", "fuzz"}
"""Folders of tests about the whole project, which mirror no module."""

MIRRORED_AS_FOLDERS = {Path("ops/attention/blockwise"), Path("ops/attention/triton")}
"""Folders that are one mechanism: they need tests in the same folder, of any name."""


def holds_code(path):
    """Whether a module defines a function or a class."""
    body = ast.parse(path.read_text()).body
    return any(isinstance(node, ast.FunctionDef | ast.ClassDef) for node in body)


def modules():
    return {
        path.relative_to(SOURCE).with_suffix("")
        for path in SOURCE.rglob("*.py")
        if path.stem not in {"__init__", "__main__"}
    }


def files_of_tests():
    return {path.relative_to(TESTS) for path in TESTS.rglob("test_*.py")}


def test_each_module_with_code_has_its_test_file():
    untested = [
        str(name)
        for name in sorted(modules())
        if name.parent not in MIRRORED_AS_FOLDERS
        and holds_code(SOURCE / name.with_suffix(".py"))
        and not (TESTS / name.parent / f"test_{name.name}.py").exists()
    ]
    assert untested == []


def test_each_test_file_has_its_module():
    known = modules()
    orphaned = [
        str(path)
        for path in files_of_tests()
        if path.parts[0] not in HOUSE_WIDE
        and path.parent not in MIRRORED_AS_FOLDERS
        and path.parent / path.stem.removeprefix("test_") not in known
    ]
    assert sorted(orphaned) == []


def test_folders_that_are_one_mechanism_have_modules_and_tests():
    assert {name.parent for name in modules()} >= MIRRORED_AS_FOLDERS
    assert {path.parent for path in files_of_tests()} >= MIRRORED_AS_FOLDERS
