import itertools
import json
import multiprocessing
import os
import sys
import types

import pytest
import torch

from quatrain.specs import DataError, StudyError
from quatrain.training.prefetch import prefetch, worker_start_method

NUM_WORKERS = [0, 2]


def squares(plan):
    return {"x": torch.tensor(plan) ** 2, "process": torch.tensor(os.getpid())}


def batches_of(collate, plans, num_workers):
    return prefetch(collate, plans, num_workers=num_workers, pin=False)


class Unpicklable(Exception):  # noqa: N818
    def __init__(self, one, two):
        super().__init__(f"{one} and {two}")


def fail(plan):
    if plan == 3:
        raise DataError("three.png is no image; replace it", "three.png")
    if plan == 5:
        raise Unpicklable("five", "no more")
    return squares(plan)


@pytest.mark.parametrize("num_workers", NUM_WORKERS)
def test_batches_come_in_the_order_of_their_plans(num_workers):
    batches = list(batches_of(squares, [4, 1, 3, 2, 5], num_workers))
    assert [int(batch["x"]) for batch in batches] == [16, 1, 9, 4, 25]
    processes = {int(batch["process"]) for batch in batches}
    assert len(processes) == max(num_workers, 1)
    assert (os.getpid() in processes) == (num_workers == 0)


@pytest.mark.parametrize("num_workers", NUM_WORKERS)
def test_plans_may_be_infinite(num_workers):
    batches = batches_of(squares, itertools.count(), num_workers)
    assert [int(batch["x"]) for batch in itertools.islice(batches, 9)] == [n * n for n in range(9)]
    batches.close()


@pytest.mark.parametrize("num_workers", NUM_WORKERS)
def test_an_error_is_raised_unchanged_when_its_batch_is_due(num_workers):
    batches = batches_of(fail, range(9), num_workers)
    assert [int(next(batches)["x"]) for _ in range(3)] == [0, 1, 4]
    with pytest.raises(DataError) as raised:
        next(batches)
    assert str(raised.value) == "three.png is no image; replace it"
    assert raised.value.field == "three.png"


def test_an_unpicklable_error_is_replaced_by_one_with_its_message():
    with pytest.raises(RuntimeError, match="Unpicklable: five and no more"):
        list(batches_of(fail, [5], 1))


@pytest.fixture
def start_method(request):
    previous = multiprocessing.get_start_method(allow_none=True)
    multiprocessing.set_start_method(request.param, force=True)
    yield
    multiprocessing.set_start_method(previous, force=True)


@pytest.mark.parametrize("start_method", ["spawn", "forkserver"], indirect=True)
def test_forked_workers_need_not_import_the_task(start_method):
    # A lambda cannot be imported, nor can the classes of a study file.
    batches = list(batches_of(lambda plan: squares(plan - 1), [5, 2], 1))
    assert [int(batch["x"]) for batch in batches] == [16, 1]


def simulate(monkeypatch, platform, methods):
    monkeypatch.setattr("sys.platform", platform)
    monkeypatch.setattr("multiprocessing.get_all_start_methods", lambda: methods)


@pytest.mark.parametrize(
    ("platform", "methods", "expected"),
    [
        ("linux", ["fork", "spawn", "forkserver"], "fork"),
        ("linux", ["forkserver", "spawn", "fork"], "fork"),
        ("freebsd14", ["forkserver", "spawn", "fork"], "fork"),
        ("darwin", ["spawn", "fork", "forkserver"], None),
        ("win32", ["spawn"], None),
    ],
)
def test_workers_are_forked_only_where_that_is_safe(monkeypatch, platform, methods, expected):
    simulate(monkeypatch, platform, methods)
    assert worker_start_method(2) == expected


def check_refused(collate):
    with pytest.raises(StudyError) as raised:
        next(batches_of(collate, [1], 1))
    assert raised.value.field == "num_workers"


def test_workers_are_refused_on_a_system_that_cannot_fork(monkeypatch):
    simulate(monkeypatch, "linux", ["spawn"])
    check_refused(squares)
    assert int(next(batches_of(squares, [3], 0))["x"]) == 9


@pytest.fixture
def spawn_only(monkeypatch):
    monkeypatch.setattr("quatrain.training.prefetch.worker_start_method", lambda _: None)
    previous = multiprocessing.get_start_method(allow_none=True)
    multiprocessing.set_start_method("spawn", force=True)
    yield
    multiprocessing.set_start_method(previous, force=True)


def test_a_task_that_cannot_be_pickled_is_refused(spawn_only):
    check_refused(lambda plan: squares(plan - 1))


def test_a_class_that_another_process_cannot_import_is_refused(spawn_only, monkeypatch):
    module = types.ModuleType("a_study_file_outside_the_path")
    exec("class Task:\n    def collate(self, plan): ...", vars(module))
    monkeypatch.setitem(sys.modules, module.__name__, module)
    check_refused(module.Task().collate)


@pytest.mark.slow
def test_a_task_that_can_be_pickled_is_run_by_spawned_workers(spawn_only):
    batches = batches_of(json.loads, ['{"x": 4}', '{"x": 5}'], 1)
    assert list(batches) == [{"x": 4}, {"x": 5}]
