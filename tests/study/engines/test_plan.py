from dataclasses import replace

import pytest

from quatrain.study import load_study
from quatrain.study.engines import plan_submission, submit
from quatrain.study.estimate import plan_study

CELLS = "[cell('a'), cell('b', weight=2)]"


def plan_of(path, store, count=100, hours=None):
    """The plan, with these hours of training by cell, as from trials."""
    study = load_study(path)
    runs = study.select()
    rows = [
        replace(row, hours=hours[row.cells[0]], source="trial") if hours else row
        for row in plan_study(study, store, runs)
    ]
    return plan_submission(study, store, runs, rows, count, device="cpu")


def test_the_plan_has_the_workers_that_are_submitted_then(write_study, finish, engine, workers):
    path = write_study(CELLS)
    store = finish(path, ["a"], (0,))
    for count in (2, 100):
        planned = plan_of(path, store, count)
        submission = submit(load_study(path), replace(workers, count=count), engine)
        assert planned.workers == submission.job.workers
        assert planned.runs == submission.left == 3
    again = plan_of(path, store)
    assert (again.workers, again.active) == (0, 3)


def test_the_last_worker_decides_how_long_the_job_takes(write_study, store):
    hours = {"one/a": 1.0, "one/b": 3.0}
    planned = plan_of(write_study(CELLS), store, 3, hours)
    assert (planned.hours, planned.hours_of_a_worker, planned.known) == (8.0, 4.0, 4)
    assert [(cell.cell, cell.runs, cell.hours_of_a_run, cell.hours) for cell in planned.cells] == [
        ("one/a", 2, 1.0, 2.0),
        ("one/b", 2, 3.0, 6.0),
    ]


def test_unknown_hours_are_left_out(write_study, store):
    planned = plan_of(write_study(CELLS), store, 3, {"one/a": 1.0, "one/b": None})
    assert (planned.hours, planned.known, planned.runs) == (2.0, 2, 4)
    assert [cell.hours for cell in planned.cells] == [2.0, None]
    unknown = plan_of(write_study(CELLS), store)
    assert (unknown.hours, unknown.hours_of_a_worker, unknown.known) == (None, None, 0)


def test_a_worker_may_need_the_time_of_finished_runs_or_of_trials(write_study, store, finish):
    path = write_study(CELLS)
    planned = plan_of(path, store, 2, {"one/a": 1.0, "one/b": 3.0})
    assert (planned.seconds, planned.seconds_by_trials) == (None, 600 + 2 * 1.5 * 3 * 3600)
    store = finish(path, seeds=(0,))
    by_records = plan_of(path, store)
    assert by_records.seconds == by_records.seconds_by_trials
    assert by_records.seconds == pytest.approx(600 + 1.5 * 0.5, abs=60)


def test_the_submitted_workers_get_the_planned_time(write_study, finish, engine, workers):
    path = write_study(CELLS)
    store = finish(path, seeds=(0,))
    planned = plan_of(path, store)
    submission = submit(load_study(path), workers, engine)
    assert engine.workers.seconds == submission.seconds == planned.seconds
