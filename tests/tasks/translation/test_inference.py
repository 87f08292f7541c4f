import shutil

import pytest

from quatrain.specs import SpecError, StoredFileError, StudyError
from quatrain.tasks.translation import load_translator


@pytest.fixture
def run_folder(finished, tmp_path):
    return shutil.copytree(finished[0], tmp_path / "run")


def test_a_finished_run_translates_lines_in_order(finished, run_folder):
    translator = load_translator(run_folder)
    pairs = finished[1].corpus.test
    lines = [source for source, _ in reversed(pairs)]
    assert translator.translate(lines) == [target for _, target in reversed(pairs)]
    assert translator.translate([]) == []


def test_an_empty_line_has_a_translation(run_folder):
    assert len(load_translator(run_folder).translate(["", "one dog runs"])) == 2


def test_a_folder_without_a_run_is_refused(tmp_path):
    with pytest.raises(StudyError) as raised:
        load_translator(tmp_path)
    assert raised.value.value == str(tmp_path)


@pytest.mark.parametrize("name", ["model.safetensors", "vocabulary.json", "spec.json"])
def test_a_damaged_file_is_refused(run_folder, name):
    (run_folder / name).write_bytes(b"\xff{}")
    with pytest.raises(StoredFileError) as raised:
        load_translator(run_folder)
    assert str(run_folder / name) in (raised.value.field, raised.value.value)


def test_an_invalid_spec_is_refused(run_folder):
    (run_folder / "spec.json").write_text("{}{")
    with pytest.raises(SpecError):
        load_translator(run_folder)
