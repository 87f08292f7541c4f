import json
import math
import os

import pytest

from quatrain.specs import StoredFileError, StudyError
from quatrain.training.log import NAME, MetricsLog, TrainingState


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
    assert str(tmp_path / "missing") in str(raised.value)


@pytest.mark.timeout(30)
def test_a_pipe_in_place_of_the_log_is_refused(tmp_path):
    os.mkfifo(tmp_path / NAME)
    with pytest.raises(StoredFileError) as raised:
        MetricsLog(tmp_path, 3)
    assert raised.value.field == str(tmp_path / NAME)


def test_means_are_over_the_steps_since_the_last_report():
    state = TrainingState().after_step(total=8.0, weight=4.0, batches=2, seconds=0.5)
    state = state.after_step(total=1.0, weight=2.0, batches=2, seconds=1.5)
    assert (state.step, state.batches, state.seconds) == (2, 4, 1.5)
    assert (state.mean_loss, state.rate) == (1.5, 4.0)
    state = state.after_report().after_step(total=3.0, weight=1.0, batches=2, seconds=2.0)
    assert (state.step, state.mean_loss, state.rate) == (3, 3.0, 2.0)


def test_the_time_of_a_validation_does_not_count_for_the_rate():
    state = TrainingState().after_step(total=8.0, weight=4.0, batches=1, seconds=1.0)
    state = state.after_report().after_validation(5.0)
    state = state.after_step(total=8.0, weight=4.0, batches=1, seconds=8.0)
    assert (state.seconds, state.rate) == (8.0, 2.0)


def test_waiting_is_a_share_of_the_time_since_the_last_report():
    state = TrainingState().after_step(total=1.0, weight=1.0, batches=1, seconds=2.0, waited=0.5)
    state = state.after_step(total=1.0, weight=1.0, batches=1, seconds=4.0, waited=0.5)
    assert state.waiting == 0.25
    state = state.after_report()
    state = state.after_step(total=1.0, weight=1.0, batches=1, seconds=5.0, waited=1.0)
    assert state.waiting == 1.0


def test_without_steps_there_is_no_mean():
    assert math.isnan(TrainingState().mean_loss)
    assert (TrainingState().rate, TrainingState().waiting) == (0.0, 0.0)
