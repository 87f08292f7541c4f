import shutil

import pytest

from quatrain.specs import SpecError, StoredFileError, StudyError
from quatrain.tasks.translation import load_translator


@pytest.fixture
def run_folder(finished, tmp_path):
    return shutil.copytree(finished[0], tmp_path / "run")


def test_a_finished_run_translates_lines_in_their_order(finished, run_folder):
    translator = load_translator(run_folder)
    pairs = finished[1].corpus.test
    lines = [source for source, _ in reversed(pairs)]
    assert translator.translate(lines) == [target for _, target in reversed(pairs)]
    assert translator.translate([]) == []


def test_an_empty_line_is_translated_to_something(run_folder):
    assert len(load_translator(run_folder).translate(["", "one dog runs"])) == 2


def test_a_folder_that_is_no_run_is_told(tmp_path):
    with pytest.raises(StudyError, match=r"expected one with a spec\.json"):
        load_translator(tmp_path)


def test_what_is_damaged_is_told(run_folder):
    (run_folder / "model.safetensors").write_bytes(b"no")
    with pytest.raises(StoredFileError, match=r"model\.safetensors"):
        load_translator(run_folder)
    (run_folder / "vocabulary.json").write_text("{")
    with pytest.raises(StoredFileError, match=r"vocabulary\.json"):
        load_translator(run_folder)
    (run_folder / "spec.json").write_text("{}{")
    with pytest.raises(SpecError):
        load_translator(run_folder)
    (run_folder / "spec.json").write_bytes(b"\xff{}")
    with pytest.raises(StoredFileError, match=r"spec\.json is .*expected a text file in UTF-8"):
        load_translator(run_folder)
