import os
from dataclasses import replace

import pytest

from quatrain.results import ResultStore, Sitting
from quatrain.specs import StoredFileError, StudyError
from quatrain.study import load_study
from quatrain.study.code import RunCode
from quatrain.study.sittings import (
    CHECKPOINT,
    SITTINGS,
    has_other_code,
    read_sittings,
    refuse_half_trained,
    write_sittings,
)
from quatrain.training import checkpoint

HERE = Sitting(versions={}, device="cpu", threads=1, commit=None, code={}, spec_code="a" * 64)


def test_the_checkpoint_is_the_one_of_the_training():
    assert checkpoint.NAME == CHECKPOINT


def test_sittings_are_those_of_the_checkpoint(tmp_path):
    write_sittings(tmp_path, [HERE])
    assert read_sittings(tmp_path) == ()
    (tmp_path / CHECKPOINT).touch()
    assert read_sittings(tmp_path) == (HERE,)
    (tmp_path / SITTINGS).unlink()
    assert read_sittings(tmp_path) is None


@pytest.mark.parametrize("content", ["[{", "{}", "[3]", '[{"threads": "many"}]'])
def test_damaged_sittings_are_an_error_that_names_the_file(tmp_path, content):
    (tmp_path / CHECKPOINT).touch()
    (tmp_path / SITTINGS).write_text(content)
    with pytest.raises(StoredFileError, match=r"sittings.json.*delete this file"):
        read_sittings(tmp_path)


def test_a_pipe_in_the_place_of_the_sittings_is_not_waited_for(tmp_path):
    (tmp_path / CHECKPOINT).touch()
    os.mkfifo(tmp_path / SITTINGS)
    with pytest.raises(StoredFileError, match="no regular file"):
        read_sittings(tmp_path)


def test_a_long_file_in_the_place_of_the_sittings_is_not_read(tmp_path):
    (tmp_path / CHECKPOINT).touch()
    with (tmp_path / SITTINGS).open("wb") as file:
        file.truncate(2**26)
    with pytest.raises(StoredFileError, match="at most 32 MiB"):
        read_sittings(tmp_path)


@pytest.fixture
def run(write_study):
    run = load_study(write_study("[cell('a')]", seeds="(3,)")).select()[0]
    return replace(run, code=RunCode({}, "b" * 64))


@pytest.mark.parametrize(
    ("then", "differs"),
    [
        (HERE, True),
        (HERE.model_copy(update={"spec_code": "b" * 64}), False),
        (HERE.model_copy(update={"spec_code": None}), True),
        (HERE.model_copy(update={"spec_code": None, "code": None}), False),
    ],
)
def test_code_is_compared_where_it_is_known(run, tmp_path, then, differs):
    store = ResultStore(tmp_path)
    folder = store.folder(run.identity)
    folder.mkdir(parents=True)
    (folder / CHECKPOINT).touch()
    write_sittings(folder, [then, HERE.model_copy(update={"spec_code": "b" * 64})])
    assert has_other_code(run, then) is differs
    if differs:
        with pytest.raises(StudyError, match=f"delete {folder / CHECKPOINT} to begin again"):
            refuse_half_trained([run], store)
    else:
        refuse_half_trained([run], store)
