import json
import os

import pytest

from quatrain.report.curves import learning_curves
from quatrain.report.runs import load_runs
from quatrain.specs import StoredFileError


def points(curves, cell):
    """The values of a cell's curves by name and step."""
    return {
        (curve.name, step): value
        for curve in curves
        if (curve.group, curve.cell) == cell
        for step, value in zip(curve.steps, curve.values, strict=True)
    }


def points_of(store, cell):
    return points(learning_curves(load_runs(store)), cell)


def test_curve_is_the_mean_over_seeds_at_each_step(report):
    expected = {("loss", 100): 6.0, ("loss", 200): 5.0, ("loss", 300): 4.0}
    assert points(report.curves, ("self", "1111")) == expected
    assert points(report.curves, ("self", "w/o")) == {}


@pytest.fixture
def log(store, make_record):
    return store.folder(make_record("1111", 0, 1.0).identity) / "metrics.jsonl"


def test_run_that_is_behind_shortens_the_curve(store, log):
    log.write_text(json.dumps({"step": 100, "loss": 5}) + "\n")
    assert points_of(store, ("self", "1111")) == {("loss", 100): 6.0}


def test_step_logged_again_after_a_resume_counts_once(store, log):
    with log.open("a") as file:
        file.write(json.dumps({"step": 300, "loss": 6.0}) + "\n")
    assert points_of(store, ("self", "1111"))["loss", 300] == 5.0


def test_unfinished_last_line_and_nan_are_left_out(store, log):
    with log.open("a") as file:
        file.write('{"step": 300, "loss": NaN}\n{"step": 400, "lo')
    assert points_of(store, ("self", "1111")) == {("loss", 100): 6.0, ("loss", 200): 5.0}


def test_primary_metric_has_a_curve_if_it_is_logged(store, log):
    log.write_text(json.dumps({"step": 100, "loss": 5, "bleu": 2.5}) + "\n")
    assert points_of(store, ("cross", "1111"))["bleu", 100] == 2.5


def test_validation_has_a_curve_with_its_own_times(store, log):
    lines = [
        {"step": 100, "loss": 5, "seconds": 60.0},
        {"step": 100, "valid_bleu": 2.5, "seconds": 66.0},
        {"step": 200, "loss": 4, "seconds": 120.0},
    ]
    log.write_text("".join(json.dumps(line) + "\n" for line in lines))
    curves = learning_curves(load_runs(store))
    (curve,) = [curve for curve in curves if (curve.group, curve.name) == ("self", "valid_bleu")]
    assert (curve.steps, curve.values, curve.seconds) == ((100,), (2.5,), (66.0,))
    losses = {("loss", 100): 6.0, ("loss", 200): 5.0}
    assert points_of(store, ("self", "1111")) == {**losses, ("valid_bleu", 100): 2.5}


@pytest.mark.parametrize("value", ["1e308", "-1e101", "1" + "0" * 400, "NaN", "Infinity", "true?"])
def test_value_that_is_not_a_finite_number_is_left_out(store, log, value):
    value = '"text"' if value == "true?" else value
    with log.open("a") as file:
        file.write(f'{{"step": 300, "loss": {value}}}\n')
    assert points_of(store, ("self", "1111")) == {("loss", 100): 6.0, ("loss", 200): 5.0}


def test_pipe_in_place_of_a_log_is_rejected(store, log):
    log.unlink()
    os.mkfifo(log)
    with pytest.raises(StoredFileError) as info:
        learning_curves(load_runs(store))
    assert info.value.field == str(log)


@pytest.mark.parametrize(
    "line",
    [
        "{",
        "[]",
        '{"loss": 1}',
        '{"step": true, "loss": 1}',
        '{"step": -1, "loss": 1}',
        f'{{"step": {10**400}, "loss": 1}}',
        f'{{"step": {"1" * 5000}, "loss": 1}}',
        '{"step": 2, "loss": ' + "[" * 100_000 + "]" * 100_000 + "}",
    ],
    ids=["cut", "list", "stepless", "true", "negative", "long", "longer", "deep"],
)
def test_damaged_line_is_named(store, log, line):
    log.write_text('{"step": 1, "loss": 2}\n' + line + "\n")
    with pytest.raises(StoredFileError) as info:
        learning_curves(load_runs(store))
    assert info.value.field == f"{log}, line 2"
