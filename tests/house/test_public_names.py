import ast
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import quatrain

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "src" / "quatrain"
SNAPSHOT = Path(__file__).with_name("public_names.json")
"""The public names of each package; after a deliberate change run this file as a script."""


def public_names():
    """The names in the `__all__` of `quatrain` and of each package in it."""
    names = {}
    for path in sorted(SOURCE.rglob("__init__.py")):
        module = ".".join(path.parent.relative_to(SOURCE.parent).parts)
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
                names[module] = sorted(ast.literal_eval(node.value))
    return names


def test_the_public_names_are_those_of_the_snapshot():
    assert public_names() == json.loads(SNAPSHOT.read_text())


def test_each_public_name_of_quatrain_can_be_imported():
    assert dir(quatrain) == sorted(quatrain.__all__)
    assert all(getattr(quatrain, name) is not None for name in quatrain.__all__)


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError):
        quatrain.nonexistent  # noqa: B018


def test_type_checkers_see_the_names_that_are_imported_when_used():
    tree = ast.parse((SOURCE / "__init__.py").read_text())
    block = next(node for node in tree.body if isinstance(node, ast.If))
    imported = [alias.name for node in block.body for alias in node.names]
    assert sorted([*imported, "__version__"]) == sorted(quatrain.__all__)


def test_import_quatrain_imports_none_of_its_dependencies():
    code = "import sys, quatrain; print(*sorted(sys.modules))"
    child = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(child.stdout.split())
    assert not loaded & {"torch", "numpy", "pydantic", "quatrain.specs"}


def test_the_statistics_import_no_torch():
    code = "import sys, quatrain; quatrain.fit, quatrain.answer; print('torch' in sys.modules)"
    child = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert child.stdout == "False\n"


@pytest.mark.slow
def test_type_checkers_know_the_types_of_all_public_names():
    scripts = Path(sys.executable).parent
    path = f"{scripts}{os.pathsep}{os.environ['PATH']}"  # pyright asks the first Python for torch
    child = subprocess.run(
        [scripts / "pyright", "--outputjson", "--ignoreexternal", "--verifytypes", "quatrain"],
        env=os.environ | {"PATH": path, "PYTHONPATH": str(SOURCE.parent)},
        capture_output=True,
        text=True,
        check=False,
    )
    report = json.loads(child.stdout)["typeCompleteness"]
    assert report["completenessScore"] >= 0.98


if __name__ == "__main__":
    SNAPSHOT.write_text(json.dumps(public_names(), indent=1) + "\n")
