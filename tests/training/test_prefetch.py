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

NUM_WORKERS = [0, 1, 2]


def squares(plan):
    return {"x": torch.tensor(plan) ** 2, "process": torch.tensor(os.getpid())}


class Unportable(Exception):  # noqa: N818
    def __init__(self, one, two):
        super().__init__(f"{one} and {two}")


def refuse(plan):
    if plan == 3:
        raise DataError("image", "three.png", "an image", "replace it")
    if plan == 5:
        raise Unportable("five", "no more")
    return squares(plan)


@pytest.mark.parametrize("num_workers", NUM_WORKERS)
def test_batches_come_in_the_order_of_their_plans(num_workers):
    batches = list(prefetch(squares, [4, 1, 3, 2, 5], num_workers=num_workers, pin=False))
    assert [int(batch["x"]) for batch in batches] == [16, 1, 9, 4, 25]
    processes = {int(batch["process"]) for batch in batches}
    assert processes == {os.getpid()} if num_workers == 0 else len(processes) == num_workers
    assert (os.getpid() in processes) == (num_workers == 0)


@pytest.mark.parametrize("num_workers", NUM_WORKERS)
def test_plans_may_go_on_for_ever(num_workers):
    batches = prefetch(squares, itertools.count(), num_workers=num_workers, pin=False)
    assert [int(batch["x"]) for batch in itertools.islice(batches, 9)] == [n * n for n in range(9)]
    batches.close()


@pytest.mark.parametrize("num_workers", NUM_WORKERS)
def test_an_error_is_raised_as_it_was_when_its_batch_is_asked_for(num_workers):
    batches = prefetch(refuse, range(9), num_workers=num_workers, pin=False)
    assert [int(next(batches)["x"]) for _ in range(3)] == [0, 1, 4]
    with pytest.raises(DataError, match=r'^image is "three.png", expected an image: replace it.$'):
        next(batches)


def test_an_error_that_cannot_travel_is_told_in_its_words():
    with pytest.raises(RuntimeError, match="Unportable: five and no more"):
        list(prefetch(refuse, [5], num_workers=1, pin=False))


@pytest.mark.parametrize("method", ["spawn", "forkserver"])
def test_workers_need_not_import_what_they_run(method):
    before = multiprocessing.get_start_method(allow_none=True)
    multiprocessing.set_start_method(method, force=True)
    try:  # a lambda cannot be imported, as the classes of a study file cannot
        batches = list(prefetch(lambda plan: squares(plan - 1), [5, 2], num_workers=1, pin=False))
    finally:
        multiprocessing.set_start_method(before, force=True)
    assert [int(batch["x"]) for batch in batches] == [16, 1]


def on(monkeypatch, platform, methods):
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
    on(monkeypatch, platform, methods)
    assert worker_start_method(2) == expected


def test_workers_are_refused_where_processes_should_be_forked_and_cannot(monkeypatch):
    on(monkeypatch, "linux", ["spawn"])
    with pytest.raises(
        StudyError, match="num_workers is 1, expected 0 on a system that cannot fork"
    ):
        next(prefetch(squares, [1], num_workers=1, pin=False))
    assert int(next(prefetch(squares, [3], num_workers=0, pin=False))["x"]) == 9


@pytest.fixture
def spawning(monkeypatch):
    monkeypatch.setattr("quatrain.training.prefetch.worker_start_method", lambda _: None)
    before = multiprocessing.get_start_method(allow_none=True)
    multiprocessing.set_start_method("spawn", force=True)
    yield
    multiprocessing.set_start_method(before, force=True)


def test_a_task_that_cannot_be_sent_to_a_spawned_worker_is_refused(spawning):
    class Own:
        def collate(self, plan):
            return squares(plan)

    Own.__module__ = "study_file_that_nobody_can_import"
    for collate in (lambda plan: squares(plan - 1), Own().collate):
        with pytest.raises(StudyError, match=r"cannot be pickled.*leave --num-workers out"):
            next(prefetch(collate, [1], num_workers=1, pin=False))


def test_a_class_that_another_process_cannot_import_is_refused_though_it_can_be_sent(
    spawning, monkeypatch
):
    module = types.ModuleType("study_file_that_nobody_can_import")
    exec("class Task:\n    def collate(self, plan): ...", vars(module))
    monkeypatch.setitem(sys.modules, module.__name__, module)
    with pytest.raises(StudyError, match="another process cannot import"):
        next(prefetch(module.Task().collate, [1], num_workers=1, pin=False))


def test_a_task_that_can_be_sent_is_read_by_spawned_workers(spawning):
    batches = prefetch(json.loads, ['{"x": 4}', '{"x": 5}'], num_workers=1, pin=False)
    assert list(batches) == [{"x": 4}, {"x": 5}]
