import json
import os

import pytest

from quatrain.specs import StoredFileError, StudyError
from quatrain.training.log import NAME, MetricsLog


def steps(folder):
    return [json.loads(line)["step"] for line in (folder / NAME).read_text().splitlines()]


def test_each_line_is_one_object_with_its_step(tmp_path):
    log = MetricsLog(tmp_path, 0)
    log.write(5, loss=1.5, rate=2.0)
    log.write(5, valid_loss=1.25)
    lines = [json.loads(line) for line in (tmp_path / NAME).read_text().splitlines()]
    assert lines == [{"step": 5, "loss": 1.5, "rate": 2.0}, {"step": 5, "valid_loss": 1.25}]


def test_a_resumed_log_has_no_lines_after_the_checkpoint(tmp_path):
    log = MetricsLog(tmp_path, 0)
    for step in (1, 2, 2, 3, 4):
        log.write(step, loss=0.0)
    MetricsLog(tmp_path, 2).write(3, loss=0.0)
    assert steps(tmp_path) == [1, 2, 2, 3]


@pytest.mark.parametrize(
    "tail", ['{"step": 2, "lo', "3", "[]", '{"loss": 1}', '{"step": null}', "\x00\xff"]
)
def test_damaged_lines_are_removed(tmp_path, tail):
    MetricsLog(tmp_path, 0).write(1, loss=0.0)
    with (tmp_path / NAME).open("ab") as file:
        file.write(tail.encode("latin-1"))
    MetricsLog(tmp_path, 9).write(2, loss=0.0)
    assert steps(tmp_path) == [1, 2]


def test_a_missing_folder_is_an_error(tmp_path):
    log = MetricsLog(tmp_path / "missing", 0)
    with pytest.raises(StudyError) as raised:
        log.write(1, loss=0.0)
    assert raised.value.value == str(tmp_path / "missing")


@pytest.mark.timeout(30)
def test_a_pipe_in_place_of_the_log_is_refused(tmp_path):
    os.mkfifo(tmp_path / NAME)
    with pytest.raises(StoredFileError) as raised:
        MetricsLog(tmp_path, 3)
    assert raised.value.field == str(tmp_path / NAME)
