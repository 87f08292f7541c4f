import importlib
import sys

import pytest

from quatrain.study import load_study

STUDY = """
import helper
from quatrain.specs import Spec
from quatrain.study import Cell, Study

LIMIT = 3
NOTE = "grid"

class Part(Spec):
    size: int = 1

class Mine(Spec):
    '''Mine.'''
    part: Part = Part()
    parts: tuple[Part, ...] = ()

    def open(self, data, folder, seed):
        return Task(self)

class Task:
    def evaluate(self):
        return LIMIT + score()

def score():
    return 1

def cells():
    return [Cell(name=NOTE, group="g", spec=Mine())]

study = Study(title="t", question="q", cells=cells(), seeds=(0, 1), metric="m")
"""


@pytest.fixture
def code_of(tmp_path, monkeypatch):
    """The code of the only cell of a study file beside which there is helper.py."""
    monkeypatch.syspath_prepend(tmp_path)

    def read(study=STUDY, helper="x = 1", name="a_study.py"):
        monkeypatch.delitem(sys.modules, "helper", raising=False)
        (tmp_path / "helper.py").write_text(helper)
        (tmp_path / name).write_text(study)
        return load_study(tmp_path / name).select()[0].code

    return read


def edited(old, new):
    assert old in STUDY
    return STUDY.replace(old, new)


def test_the_study_file_and_what_it_imports_beside_it_are_hashed(code_of):
    assert sorted(code_of().code) == ["a_study.py", "helper.py"]
    assert code_of() == code_of()


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("LIMIT = 3", "LIMIT = 4"),
        ("return LIMIT + score()", "return LIMIT - score()"),
        ("    return 1", "    return 2"),
        ("size: int = 1", "size: int = 2"),
        ("class Task:", "class Task:\n    rate = 2\n"),
        ("def score", "Task.evaluate = None\n\ndef score"),
        ("def score", "setattr(Task, 'rate', 3)\n\ndef score"),
        ("def score", "_ = setattr(Task, 'rate', 3)\n\ndef score"),
        ("def score", "def setup(): Task.rate = 3\n\nsetup()\n\ndef score"),
    ],
)
def test_code_that_the_classes_of_a_spec_reach_is_in_its_hash(code_of, old, new):
    before, after = code_of(), code_of(edited(old, new))
    assert before.spec_code != after.spec_code
    assert before.code["a_study.py"] != after.code["a_study.py"]


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("seeds=(0, 1)", "seeds=(0, 1, 2)"),
        ("'''Mine.'''", "'''Yours.'''"),
        ("LIMIT = 3", "LIMIT = 3  # as the paper has it"),
        ("LIMIT = 3", "\n\nLIMIT = (3)"),
        ("def evaluate(self)", "def evaluate(self) -> int"),
        ("data, folder, seed", "data: object, folder: 'Path', seed: int"),
    ],
)
def test_seeds_comments_and_docstrings_are_in_no_hash(code_of, old, new):
    assert code_of() == code_of(edited(old, new))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('NOTE = "grid"', 'NOTE = "net"'),
        ("return [Cell(", "return [*[]] + [Cell("),
        ("import Spec", "import DataError, Spec"),
        ("import Spec", "import Spec\nfrom typing import ClassVar, Literal"),
        ("return [Cell(", "return [score() and Cell("),
        ("def cells", "SIZES = [score(), helper.x]\n\ndef cells"),
    ],
)
def test_what_only_makes_the_grid_is_in_the_hash_of_the_file_alone(code_of, old, new):
    before, after = code_of(), code_of(edited(old, new))
    assert before.spec_code == after.spec_code
    assert before.code["a_study.py"] != after.code["a_study.py"]


def test_a_module_beside_it_counts_for_the_spec_where_its_code_reaches_it(code_of):
    aside, other = code_of(), code_of(helper="x = 2")
    assert aside.spec_code == other.spec_code
    assert aside.code["helper.py"] != other.code["helper.py"]
    reaching = edited("    return 1", "    return helper.x")
    assert code_of(reaching).spec_code != code_of(reaching, helper="x = 2").spec_code


def test_a_module_that_is_imported_late_is_found_too(code_of):
    late = edited("import helper\n", "").replace(
        "    return 1", "    from helper import x\n    return x"
    )
    assert code_of(late).spec_code != code_of(late, helper="x = 2").spec_code


def test_a_spec_that_a_module_beside_it_defines_is_the_studys_own(code_of):
    mine = STUDY[STUDY.index("LIMIT") : STUDY.index("def cells")]
    helper = "from quatrain.specs import Spec\n" + mine
    study = STUDY.replace(mine, "from helper import Mine\nNOTE = 'n'\n")
    before = code_of(study, helper)
    after = code_of(study, helper.replace("return 1", "return 2"))
    assert before.spec_code not in {None, after.spec_code}


def test_a_new_name_of_the_study_file_does_not_change_the_spec(code_of):
    assert code_of().spec_code == code_of(name="renamed.py").spec_code


def test_specs_that_the_study_does_not_define_have_no_code_of_its_own(code_of):
    study = STUDY[: STUDY.index("class Part")] + (
        "from quatrain.tasks.translation import TranslationSpec\n"
        "cells = [Cell(name='a', group='g', spec=TranslationSpec())]\n"
        "study = Study(title='t', question='q', cells=cells, seeds=(0,), metric='m')\n"
    )
    code = code_of(study)
    assert code.spec_code is None
    assert sorted(code.code) == ["a_study.py", "helper.py"]


def test_installed_packages_below_the_folder_are_not_beside_the_study(code_of, tmp_path):
    package = tmp_path / "venv" / "site-packages"
    package.mkdir(parents=True)
    (package / "bought.py").write_text("")
    sys.path.insert(0, str(package))
    try:
        assert "bought" not in str(code_of("import bought\n" + STUDY).code)
    finally:
        sys.path.remove(str(package))
        sys.modules.pop("bought", None)


TABLE = """
TABLE = {}
def setup(value): TABLE["v"] = value
setup(VALUE)
"""
NETS = """
NETS = {}
def register(kind): NETS[kind.__name__] = kind
@register
class Net: v = VALUE
"""


@pytest.mark.parametrize(
    ("setting", "read"),
    [
        (TABLE, 'TABLE["v"]'),
        (NETS, 'NETS["Net"].v'),
        ("X = []\n_ = X.append(VALUE)", "X[0]"),
        ("X = []\nY = [X.append(i) for i in range(VALUE)]", "len(X)"),
    ],
)
def test_a_value_that_a_call_at_module_level_sets_is_in_the_hash(code_of, setting, read):
    study = edited("LIMIT = 3", setting).replace("return LIMIT", f"return {read}")
    one, other = (code_of(study.replace("VALUE", value)) for value in ("50", "49"))
    assert one.spec_code != other.spec_code


def test_a_class_that_a_module_beside_it_registers_is_in_the_hash(code_of):
    helper = "NETS = {}\ndef register(kind):\n    NETS[kind.__name__] = kind\n    return kind"
    net = "@helper.register\nclass Net:\n    v = 50\n\nLIMIT = 3"
    study = edited("LIMIT = 3", net).replace("return LIMIT", "return helper.NETS['Net'].v")
    one, other = code_of(study, helper), code_of(study.replace("50", "49"), helper)
    assert one.spec_code != other.spec_code


def test_a_spec_that_the_grid_shares_as_a_constant_keeps_its_hash(code_of):
    study = edited("def cells", "BASE = Part(size=3)\nOTHER = BASE.model_copy()\n\ndef cells")
    study = study.replace("part: Part = Part()", "part: Part = Part(size=3)")
    study = study.replace("return Task(self)", "return Task(BASE)")
    more = study.replace("OTHER = BASE.model_copy()", "OTHER = BASE.model_copy(deep=True)")
    assert code_of(study).spec_code == code_of(more).spec_code


def packaged(folder, value):
    (folder / "pkg" / "deep").mkdir(parents=True, exist_ok=True)
    (folder / "pkg" / "__init__.py").write_text("")
    (folder / "pkg" / "sub.py").write_text(f"VALUE = {value}")
    (folder / "pkg" / "deep" / "end.py").write_text(f"from pkg.sub import VALUE\nEND = {value}")


@pytest.mark.parametrize(
    "line",
    [
        "from pkg.sub import VALUE",
        "from pkg import sub",
        "import pkg.sub",
        "from pkg.deep import end",
        "import pkg.deep.end as end",
    ],
)
def test_modules_of_a_package_that_is_imported_late_are_hashed(code_of, tmp_path, line):
    late = edited("        return Task(self)", f"        {line}\n        return Task(self)")
    packaged(tmp_path, 1)
    before = code_of(late)
    packaged(tmp_path, 2)
    after = code_of(late)
    assert {"pkg/__init__.py", "pkg/sub.py"} <= before.code.keys()
    assert before.spec_code != after.spec_code
    assert not [each for each in sys.modules if each.partition(".")[0] == "pkg"]


def test_a_package_that_a_run_imports_in_the_meantime_changes_no_hash(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    packaged(tmp_path, 1)
    late = edited("import helper\n", "").replace(
        "        return Task(self)", "        from pkg.sub import VALUE\n        return Task(self)"
    )
    two = late.replace("class Task:", "class Yours(Mine):\n    size: int = 1\n\nclass Task:")
    two = two.replace("spec=Mine())", "spec=Mine()), Cell(name='two', group='g', spec=Yours())")
    (tmp_path / "a_study.py").write_text(two)
    study = load_study(tmp_path / "a_study.py")
    first, second = study.cells
    study.run(first, 0)
    importlib.import_module("pkg.sub")
    try:
        assert study.run(second, 0).spec_code not in {None, study.run(first, 0).spec_code}
    finally:
        for each in ("pkg", "pkg.sub"):
            sys.modules.pop(each, None)
