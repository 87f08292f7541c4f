import sys
from types import SimpleNamespace

import pytest

from quatrain.study import code as code_module
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
    return [Cell(name=NOTE, group="g", spec=Mine(parts=(Part(),)))]

study = Study(title="t", question="q", cells=cells(), seeds=(0, 1), metric="m")
"""


@pytest.fixture
def code_of(tmp_path, monkeypatch):
    """The code of the only cell of a study file with helper.py in its folder."""
    monkeypatch.syspath_prepend(tmp_path)

    def read(study=STUDY, helper="x = 1", name="a_study.py"):
        monkeypatch.delitem(sys.modules, "helper", raising=False)
        (tmp_path / "helper.py").write_text(helper)
        (tmp_path / name).write_text(study)
        run = load_study(tmp_path / name).select()[0]
        return SimpleNamespace(code=run.code, spec_code=run.spec_code)

    return read


def edited(old, new):
    assert old in STUDY
    return STUDY.replace(old, new)


def test_the_study_file_and_the_modules_of_its_folder_that_it_imports_are_hashed(code_of):
    assert sorted(code_of().code) == ["a_study.py", "helper.py"]
    assert code_of() == code_of()


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("LIMIT = 3", "LIMIT = 4"),
        ("    return 1", "    return 2"),
        ("size: int = 1", "size: int = 2"),
        ("class Task:", "class Task:\n    rate = 2\n"),
    ],
)
def test_code_that_the_classes_of_a_spec_use_is_in_both_hashes(code_of, old, new):
    before, after = code_of(), code_of(edited(old, new))
    assert before.spec_code != after.spec_code
    assert before.code["a_study.py"] != after.code["a_study.py"]


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("seeds=(0, 1)", "seeds=(0, 1, 2)"),
        ("'''Mine.'''", "'''Yours.'''"),
        ("LIMIT = 3", "\n\nLIMIT = (3)  # as in the paper"),
    ],
)
def test_seeds_comments_docstrings_and_layout_are_in_no_hash_of_the_spec(code_of, old, new):
    assert code_of().spec_code == code_of(edited(old, new)).spec_code


def test_code_of_the_grid_is_in_the_hash_of_the_file_alone(code_of):
    before, after = code_of(), code_of(edited('NOTE = "grid"', 'NOTE = "net"'))
    assert before.spec_code == after.spec_code
    assert before.code["a_study.py"] != after.code["a_study.py"]


@pytest.mark.parametrize(
    "study",
    [
        edited("    return 1", "    return helper.x"),
        edited("    return 1", "    from helper import x\n    return x"),
        edited("LIMIT = 3", "@helper.register\nclass Net: ...\n\nLIMIT = 3"),
        edited("import helper", "from helper import *").replace("    return 1", "    return x"),
    ],
)
def test_a_module_of_the_folder_counts_as_a_whole_for_a_spec_that_uses_it(code_of, study):
    helper = "def register(kind): return kind\nx = 1\ny = 1"
    before, after = code_of(study, helper), code_of(study, helper.replace("y = 1", "y = 2"))
    assert before.spec_code != after.spec_code


def test_a_module_of_the_folder_that_no_spec_uses_is_in_its_own_hash_alone(code_of):
    before, after = code_of(), code_of(helper="x = 2")
    assert before.spec_code == after.spec_code
    assert before.code["helper.py"] != after.code["helper.py"]


def test_a_spec_that_a_module_of_the_folder_defines_is_the_studys_own(code_of):
    mine = STUDY[STUDY.index("LIMIT") : STUDY.index("def cells")]
    helper = "from quatrain.specs import Spec\n" + mine
    study = STUDY.replace(mine, "from helper import Mine, Part\nNOTE = 'n'\n")
    before = code_of(study, helper)
    after = code_of(study, helper.replace("return 1", "return 2"))
    assert before.spec_code not in {None, after.spec_code}


def test_the_name_of_the_study_file_is_not_in_the_hash_of_the_spec(code_of):
    assert code_of().spec_code == code_of(name="renamed.py").spec_code


def test_installed_packages_below_the_folder_are_not_hashed(code_of, tmp_path, monkeypatch):
    package = tmp_path / "venv" / "site-packages"
    package.mkdir(parents=True)
    mine = STUDY[STUDY.index("LIMIT") : STUDY.index("def cells")]
    (package / "installed.py").write_text("from quatrain.specs import Spec\n" + mine)
    monkeypatch.syspath_prepend(package)
    try:
        code = code_of(STUDY.replace(mine, "from installed import Mine, Part\nNOTE = 'n'\n"))
    finally:
        sys.modules.pop("installed", None)
    assert sorted(code.code) == ["a_study.py", "helper.py"]
    assert code.spec_code is None


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
def test_modules_of_a_package_are_hashed_without_being_imported(code_of, tmp_path, line):
    late = edited("        return Task(self)", f"        {line}\n        return Task(self)")
    (tmp_path / "pkg" / "deep").mkdir(parents=True)
    (tmp_path / "pkg" / "__init__.py").write_text("")
    (tmp_path / "pkg" / "deep" / "end.py").write_text("from ..sub import VALUE")
    (tmp_path / "pkg" / "sub.py").write_text("VALUE = 1")
    before = code_of(late)
    (tmp_path / "pkg" / "sub.py").write_text("VALUE = 2")
    after = code_of(late)
    assert {"pkg/__init__.py", "pkg/sub.py"} <= before.code.keys()
    assert before.spec_code != after.spec_code
    assert not [each for each in sys.modules if each.partition(".")[0] == "pkg"]


def test_the_code_of_a_spec_is_hashed_once_for_all_seeds(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "helper.py").write_text("x = 1")
    (tmp_path / "a_study.py").write_text(edited("seeds=(0, 1)", "seeds=range(9)"))
    study, walked = load_study(tmp_path / "a_study.py"), []
    classes = code_module._classes
    monkeypatch.setattr(code_module, "_classes", lambda spec: walked.append(spec) or classes(spec))
    assert len({run.spec_code for run in study.select()}) == 1
    assert [spec for spec in walked if spec is study.cells[0].spec] == [study.cells[0].spec]
