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
    ],
)
def test_seeds_comments_and_docstrings_are_in_no_hash(code_of, old, new):
    assert code_of() == code_of(edited(old, new))


@pytest.mark.parametrize(
    ("old", "new"),
    [('NOTE = "grid"', 'NOTE = "net"'), ("return [Cell(", "return [*[]] + [Cell(")],
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
