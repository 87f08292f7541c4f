import functools
import importlib
import linecache

import pytest

from quatrain.ablation.functions import code_hash, notebook_source, study_code
from quatrain.specs import StudyError
from quatrain.study import load_study


def hash_of(path):
    (code,) = {cell.spec.code for cell in load_study(path).cells}
    return code


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('"""A network."""', '"""Another text."""'),
        ("seeds=2", "seeds=5"),
        ('"1111"]', '"1111", "0110"]'),
        ("margin=0.1", "margin=0.2"),
        ("RATE = 0.1", "RATE = 0.1  # slow"),
        ("images[:1]", "images[:2]"),
    ],
)
def test_comments_and_the_study_itself_are_not_in_the_hash(study_file, old, new):
    assert hash_of(study_file()) == hash_of(study_file((old, new)))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("range(3)", "range(4)"),
        ("RATE = 0.1", "RATE = 0.2"),
        ("nn.Conv2d(4, 2, 1)", "nn.Conv2d(4, 2, 1, bias=False)"),
        ('"constant": 1', '"constant": 2'),
        ("linspace(-1, 1,", "linspace(-2, 1,"),
    ],
)
def test_code_that_decides_a_result_is_in_the_hash(study_file, old, new):
    assert hash_of(study_file()) != hash_of(study_file((old, new)))


def test_modules_of_the_folder_are_in_the_hash(study_file, tmp_path):
    (tmp_path / "losses_of_mine.py").write_text("def distance(x):\n    return x.square()\n")
    replacements = (
        ("import quatrain\n", "import quatrain\nfrom losses_of_mine import distance\n"),
        ("(model(images.to(device)) - noise).square()", "distance(model(images) - noise)"),
    )
    before = hash_of(study_file(*replacements))
    (tmp_path / "losses_of_mine.py").write_text("def distance(x):\n    return x.abs()\n")
    assert hash_of(study_file(*replacements)) != before


@pytest.mark.parametrize(
    ("build", "other"),
    [
        ("build=lambda: nn.Conv2d(3, 1, 1)", "build=lambda: nn.Conv2d(3, 2, 1)"),
        ("build=partial(make, 1)", "build=partial(make, 2)"),
        ("build=partial(make, n=1)", "build=partial(make, n=2)"),
        ("build=maker(1)", "build=maker(2)"),
        ("build=partial(call, make)", "build=partial(call, make_other)"),
        ("build=torch.nn.Identity", "build=torch.nn.Flatten"),
        ("build=Maker(1).make", "build=Maker(2).make"),
        ("build=Maker(1)", "build=Maker(2)"),
        ("build=Maker(Size(1))", "build=Maker(Size(2))"),
        ("build=Maker({'b', 'a', 'c'})", "build=Maker({'b', 'a', 'd'})"),
        ("build=maker(Size(1))", "build=maker(Size(2))"),
    ],
)
def test_bound_values_are_in_the_hash(study_file, build, other):
    helpers = """
from functools import partial
def make(n): return nn.Conv2d(3, n, 1)
def make_other(): return nn.Conv2d(3, 7, 1)
def call(function): return function()
def maker(n):
    def build_it(): return make(n)
    return build_it
class Size:
    def __init__(self, n): self.n, self.itself = n, self
class Maker:
    def __init__(self, n): self.n = n
    def make(self): return make(self.n)
    __call__ = make
study ="""
    first = study_file(("\nstudy =", helpers), ("build=Net", build))
    assert hash_of(first) == hash_of(first)
    assert hash_of(first) != hash_of(study_file(("\nstudy =", helpers), ("build=Net", other)))


def test_a_list_of_mixers_is_not_in_the_hash_of_a_study_with_a_lambda(study_file):
    made = (
        ("\nstudy =", 'MIXERS = ["w/o", "0010"]\n\nstudy ='),
        ('["w/o", "0010", "1111"]', "MIXERS"),
    )
    lambdas = (*made, ("build=Net", "build=lambda: Net()"))
    first = hash_of(study_file(*lambdas))
    assert first == hash_of(study_file(*lambdas, ('["w/o", "0010"]', '["w/o"]')))
    assert first != hash_of(study_file(*lambdas, ("4, 2, 1", "4, 2, 1, bias=False")))


def test_relative_imports_of_a_module_that_is_run_are_in_the_hash(tmp_path, monkeypatch):
    package = tmp_path / "package_of_mine"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "layers.py").write_text("def build(): return 1\n")
    study = package / "mine.py"
    study.write_text("from .layers import build\n")
    monkeypatch.syspath_prepend(tmp_path)
    namespace = {"__name__": "__main__", "__file__": str(study), "__package__": "package_of_mine"}
    code = study_code(namespace, [])
    assert code.has("package_of_mine.layers")


def test_modules_in_the_folder_of_a_notebook_are_in_the_hash(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    path = tmp_path / "layers_of_mine.py"
    path.write_text("def build(): return 1\n")
    build = importlib.import_module("layers_of_mine").build
    before = code_hash([build], study_code({"__name__": "__main__"}, [build]))
    path.write_text("def build(): return 2\n")
    assert code_hash([build], study_code({"__name__": "__main__"}, [build])) != before


CELL = """
import math
import torch.nn as nn
from collections import OrderedDict
LAYERS, DATA = 2, object()
class Net(nn.Module):
    def width(self):
        return LAYERS * math.pi
def build():
    DATA, OrderedDict
    return Net()
def unused():
    return 1
"""


@pytest.fixture
def run_cell(monkeypatch):
    """Executes the text of a cell of a notebook in a namespace, as IPython does."""
    namespace = {"__name__": "__main__"}

    def run(text):
        name = f"<cell {len(linecache.cache)}>"
        monkeypatch.setitem(
            linecache.cache, name, (len(text), None, text.splitlines(keepends=True), name)
        )
        exec(compile(text, name, "exec"), namespace)
        return namespace

    return run


def test_the_source_of_a_notebook_has_what_a_function_uses(run_cell):
    lines = notebook_source(run_cell(CELL), {"build"}).splitlines()
    assert "import math as math" in lines
    assert "import torch.nn as nn" in lines
    assert "from collections import OrderedDict as OrderedDict" in lines
    assert "LAYERS = 2" in lines
    assert "DATA = 'object'" in lines
    assert "class Net(nn.Module):" in lines
    assert not any("unused" in line for line in lines)


@pytest.mark.parametrize(
    ("cell", "same"),
    [
        ("LAYERS = 3", False),
        ("def build():\n    return 1", False),
        ("def unused():\n    return 2", True),
        ("LAYERS = 2  # as before", True),
        ("def build():\n    # as before\n    DATA, OrderedDict\n    return Net()", True),
    ],
)
def test_a_notebook_is_known_by_its_present_definitions(run_cell, cell, same):
    namespace = run_cell(CELL)
    before = code_hash([namespace["build"]], study_code(namespace, [namespace["build"]]))
    run_cell(cell)
    after = code_hash([namespace["build"]], study_code(namespace, [namespace["build"]]))
    assert (before == after) == same


def test_what_a_lambda_of_a_notebook_uses_is_in_the_hash(run_cell):
    namespace = run_cell("WIDTH = 1\nbuild = lambda: WIDTH")
    before = code_hash([namespace["build"]], study_code(namespace, [namespace["build"]]))
    run_cell("WIDTH = 2")
    assert code_hash([namespace["build"]], study_code(namespace, [namespace["build"]])) != before


def test_a_function_without_source_is_refused():
    namespace = {"__name__": "__main__"}
    exec("def build(): pass", namespace)
    with pytest.raises(StudyError) as info:
        study_code(namespace, [functools.partial(namespace["build"])])
    assert info.value.field == "build"
