import sys
from pathlib import Path

import pytest

from quatrain.specs import QuatrainError, SpecError, StudyError
from quatrain.study import load_study


def test_a_study_file_is_run_and_its_study_taken(write_study):
    study = load_study(write_study("[cell('a')]", comparisons="[]"))
    assert study.title == "A study"
    assert study.cells[0].spec.steps == 4


def test_a_typo_in_a_field_is_a_sentence_with_file_and_line(write_study):
    path = write_study("[cell('a', stpes=3)]")
    with pytest.raises(SpecError, match=r"FakeSpec\.stpes.*a_study\.py line \d+\.$"):
        load_study(path)


def test_the_line_is_found_from_a_relative_path_too(write_study, monkeypatch):
    path = write_study("[cell('a', stpes=3)]")
    monkeypatch.chdir(path.parent)
    with pytest.raises(SpecError, match=r"mend the spelling in a_study\.py line \d+\.$"):
        load_study(Path(path.name))


@pytest.mark.parametrize(
    ("cells", "field"), [("[Cell(nam='a')]", "Cell"), ("[], seed=(0,)", "Study")]
)
def test_a_typo_in_a_field_of_the_study_names_the_fields_there_are(write_study, cells, field):
    sentence = rf'field of {field} is "\w+", expected one of .*, .*: mend .*a_study\.py line \d+'
    with pytest.raises(StudyError, match=sentence):
        load_study(write_study(cells))


def test_a_study_that_contradicts_itself_is_placed_too(write_study):
    path = write_study("[cell('a'), cell('a')]")
    with pytest.raises(StudyError, match=r"unique in their group.*a_study\.py line"):
        load_study(path)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("study = (", r"line 1 .*expected valid Python"),
        ("x = 1\nstudy = x + y", r"line 2.*NameError: name 'y' is not defined"),
        ("import no_such_module", r"line 1.*No module named"),
        ("x = 1", r"missing.*expected a Study"),
        ("study = 3", r"int.*expected a Study"),
        ("import sys\nsys.exit(3)", r"line 2.*expected a file that runs: SystemExit: 3"),
        ("exit()", r"line 1.*SystemExit"),
        ("input('which? ')", r"line 1.*EOFError"),
        ("raise BaseException('a panic')", r"line 1.*a panic"),
        ("raise ValueError('of two\\nlines')", r"line 1.*of two lines"),
        (f"study = ({'x ' * 10_000}", r"line 1 .*expected valid Python"),
        ("import os\nos.chdir('/')\nx = y", r"line 3.*NameError"),
        ("import os\nos.chdir('/')\nstudy = (", r"broken\.py line 3.*expected valid Python"),
        ("x = 1\nx = '\0'", r"null bytes"),
    ],
)
def test_whatever_is_wrong_with_the_file_is_one_sentence(tmp_path, text, sentence):
    path = tmp_path / "broken.py"
    path.write_text(text)
    with pytest.raises(QuatrainError, match=sentence) as caught:
        load_study(path)
    assert str(caught.value).count("\n") == 0
    assert len(str(caught.value)) < 600


def test_a_source_that_is_not_utf_8_is_one_sentence(tmp_path):
    path = tmp_path / "broken.py"
    path.write_bytes(b"x = 'gr\xfcn'\n")
    with pytest.raises(StudyError, match=r"expected valid Python.*utf-8"):
        load_study(path)


@pytest.mark.parametrize("name", ["none.py", ".", "a" * 5000, "d/" * 2500 + "a.py", "a\0b.py"])
def test_a_path_that_is_no_file_is_one_short_sentence(tmp_path, name):
    with pytest.raises(StudyError, match="an existing Python file") as caught:
        load_study(tmp_path / name)
    assert len(str(caught.value)) < 400


def test_what_a_study_file_prints_goes_to_stderr(write_study, capfd):
    path = write_study("[cell('a')]")
    path.write_text("print('reading the grid')\n" + path.read_text())
    load_study(path)
    assert capfd.readouterr() == ("", "reading the grid\n")


def test_a_study_file_sees_no_options_whoever_reads_it(write_study, monkeypatch):
    path = write_study("[cell('a', weight=len(__import__('sys').argv))]")
    monkeypatch.setattr(sys, "argv", ["quatrain", "study", "run", "a_study.py"])
    assert load_study(path).cells[0].spec.weight == 1
    assert sys.argv[0] == "quatrain"
    assert sys.stdin is not None


def test_the_study_knows_the_code_of_its_file(write_study):
    run = load_study(write_study("[cell('a')]")).select()[0]
    assert list(run.code.code) == ["a_study.py"]
    assert run.code.spec_code.startswith("2:")


def test_a_file_that_is_not_python_by_name_is_refused(tmp_path):
    path = tmp_path / "study.txt"
    path.write_text("study = 1")
    with pytest.raises(StudyError, match=r"give it the ending \.py"):
        load_study(path)


def test_the_module_can_be_found_by_pydantic(write_study):
    load_study(write_study("[cell('a')]"))
    assert "quatrain_study_a_study" in sys.modules


@pytest.mark.parametrize("end", ["raise SystemExit", "sys.exit('no')", "raise GeneratorExit"])
def test_a_file_that_ends_the_program_is_refused_with_its_line(tmp_path, end):
    path = tmp_path / "ends.py"
    path.write_text(f"import sys\n{end}\n")
    with pytest.raises(StudyError, match=r"ends\.py line 2.*a file that runs"):
        load_study(path)


def test_modules_beside_the_study_are_found_after_all_others(write_study, tmp_path, monkeypatch):
    monkeypatch.setattr("sys.path", [*sys.path])
    (tmp_path / "queue.py").write_text("raise RuntimeError('not the queue that was meant')")
    (tmp_path / "cells_of_this_test.py").write_text("weights = (1, 2)")
    path = write_study("[cell(str(w), weight=w) for w in cells_of_this_test.weights]")
    path.write_text("import queue, cells_of_this_test\n" + path.read_text())
    assert len(load_study(path).cells) == 2
    assert sys.path[-1] == str(tmp_path)
