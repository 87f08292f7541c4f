import re
import sys
from pathlib import Path

import pytest

from quatrain.specs import QuatrainError, SpecError
from quatrain.study import load, load_study


def error_of(path):
    with pytest.raises(QuatrainError) as error:
        load_study(path)
    return error.value


def test_a_study_file_is_executed_and_its_study_returned(write_study):
    study = load_study(write_study("[cell('a')]", comparisons="[]"))
    assert study.title == "A study"
    assert study.cells[0].spec.steps == 4


def test_an_error_of_a_spec_names_file_and_line(write_study, monkeypatch):
    path = write_study("[cell('a', stpes=3)]")
    error = error_of(path)
    assert isinstance(error, SpecError)
    assert error.field == "FakeSpec.stpes"
    assert re.search(r"a_study\.py line \d+\)$", str(error))
    monkeypatch.chdir(path.parent)
    assert re.search(r"\(a_study\.py line \d+\)$", str(error_of(Path(path.name))))


@pytest.mark.parametrize(
    ("cells", "field"), [("[Cell(nam='a')]", "Cell.nam"), ("[], seed=(0,)", "Study.seed")]
)
def test_an_unknown_field_of_the_study_names_the_known_ones(write_study, cells, field):
    error = error_of(write_study(cells))
    assert error.field == field
    assert "seeds" in str(error)


@pytest.mark.parametrize(
    ("text", "where", "why"),
    [
        ("study = (", "line 1", "never closed"),
        ("x = 1\nstudy = x + y", "line 2", "NameError: name 'y' is not defined"),
        ("import no_such_module", "line 1", "No module named"),
        ("from .other import cells", "line 1", "cannot use relative imports"),
        ("x = 1", "broken.py", "defines no study"),
        ("study = 3", "broken.py", "defines no study"),
        ("import sys\nsys.exit(3)", "line 2", "SystemExit: 3"),
        ("raise SystemExit", "line 1", "SystemExit"),
        ("raise GeneratorExit", "line 1", "GeneratorExit"),
        ("exit()", "line 1", "SystemExit"),
        ("input('which? ')", "line 1", "EOFError"),
        ("raise BaseException('a panic')", "line 1", "a panic"),
        ("raise ValueError('of two\\nlines')", "line 1", "of two lines"),
        (f"study = ({'x ' * 10_000}", "line 1", "comma"),
        ("import os\nos.chdir('/')\nx = y", "line 3", "NameError"),
        ("import os\nos.chdir('/')\nstudy = (", "broken.py line 3", "never closed"),
        ("x = 1\nx = '\0'", "", "null bytes"),
        (b"x = 'gr\xfcn'\n", "", "utf-8"),
    ],
)
def test_any_error_of_the_file_is_one_short_sentence(tmp_path, text, where, why):
    path = tmp_path / "broken.py"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    error = error_of(path)
    assert where in str(error)
    assert why in str(error)
    assert str(error).count("\n") == 0
    assert len(str(error)) < 600


@pytest.mark.parametrize("name", ["none.py", ".", "a" * 5000, "d/" * 2500 + "a.py", "a\0b.py"])
def test_a_path_that_is_no_file_is_an_error(tmp_path, name):
    error = error_of(tmp_path / name)
    assert error.field == "study file"
    assert len(str(error)) < 400


def test_the_output_of_a_study_file_goes_to_stderr(write_study, capfd):
    path = write_study("[cell('a')]")
    path.write_text("print('reading the grid')\n" + path.read_text())
    load_study(path)
    assert capfd.readouterr() == ("", "reading the grid\n")


def test_a_study_file_has_no_options_and_no_input(write_study, monkeypatch):
    path = write_study("[cell('a', weight=len(__import__('sys').argv))]")
    monkeypatch.setattr(sys, "argv", ["quatrain", "study", "run", "a_study.py"])
    assert load_study(path).cells[0].spec.weight == 1
    assert sys.argv[0] == "quatrain"
    assert sys.stdin is not None


def test_a_loaded_study_has_the_hashes_of_its_code(write_study):
    run = load_study(write_study("[cell('a')]")).select()[0]
    assert list(run.code) == ["a_study.py"]
    assert run.spec_code.startswith("2:")


def test_a_file_with_another_ending_is_an_error(tmp_path):
    path = tmp_path / "study.txt"
    path.write_text("study = 1")
    assert "no Python file" in str(error_of(path))


def test_the_module_can_be_found_by_pydantic(write_study):
    load_study(write_study("[cell('a')]"))
    assert "quatrain_study_a_study" in sys.modules


def test_modules_of_the_folder_are_found_after_all_others(write_study, tmp_path, monkeypatch):
    monkeypatch.setattr("sys.path", [*sys.path])
    monkeypatch.setattr(load, "_FOLDERS", [])
    (tmp_path / "queue.py").write_text("raise RuntimeError('not the queue that was meant')")
    (tmp_path / "cells_of_this_test.py").write_text("weights = (1, 2)")
    path = write_study("[cell(str(w), weight=w) for w in cells_of_this_test.weights]")
    path.write_text("import queue, cells_of_this_test\n" + path.read_text())
    assert len(load_study(path).cells) == 2
    assert sys.path[-1] == str(tmp_path)


def test_a_study_has_the_modules_of_its_own_folder_also_after_others(tmp_path, write_study):
    path = write_study("[cell(str(w), weight=w) for w in cells_of_two_tests.weights]")
    text = "import cells_of_two_tests\n" + path.read_text()
    studies = {}
    for name, weights in {"one": (1, 2), "two": (3, 4, 5)}.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "cells_of_two_tests.py").write_text(f"{weights=}")
        studies[tmp_path / name / "study.py"] = len(weights)
        (tmp_path / name / "study.py").write_text(text)
    for study in [*studies, *studies]:
        assert len(load_study(study).cells) == studies[study]
