import itertools
import multiprocessing
import os

import pytest
import torch

from quatrain.specs import DataError
from quatrain.training.input import read

READERS = [0, 1, 2]


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


@pytest.mark.parametrize("readers", READERS)
def test_batches_come_in_the_order_of_their_plans(readers):
    batches = list(read(squares, [4, 1, 3, 2, 5], readers=readers, pin=False))
    assert [int(batch["x"]) for batch in batches] == [16, 1, 9, 4, 25]
    processes = {int(batch["process"]) for batch in batches}
    assert processes == {os.getpid()} if readers == 0 else len(processes) == readers
    assert (os.getpid() in processes) == (readers == 0)


@pytest.mark.parametrize("readers", READERS)
def test_plans_may_go_on_for_ever(readers):
    batches = read(squares, itertools.count(), readers=readers, pin=False)
    assert [int(batch["x"]) for batch in itertools.islice(batches, 9)] == [n * n for n in range(9)]
    batches.close()


@pytest.mark.parametrize("readers", READERS)
def test_an_error_is_raised_as_it_was_when_its_batch_is_asked_for(readers):
    batches = read(refuse, range(9), readers=readers, pin=False)
    assert [int(next(batches)["x"]) for _ in range(3)] == [0, 1, 4]
    with pytest.raises(DataError, match=r'^image is "three.png", expected an image: replace it.$'):
        next(batches)


def test_an_error_that_cannot_travel_is_told_in_its_words():
    with pytest.raises(RuntimeError, match="Unportable: five and no more"):
        list(read(refuse, [5], readers=1, pin=False))


@pytest.mark.parametrize("method", ["spawn", "forkserver"])
def test_readers_need_not_import_what_they_run(method):
    before = multiprocessing.get_start_method(allow_none=True)
    multiprocessing.set_start_method(method, force=True)
    try:  # a lambda cannot be imported, as the classes of a study file cannot
        batches = list(read(lambda plan: squares(plan - 1), [5, 2], readers=1, pin=False))
    finally:
        multiprocessing.set_start_method(before, force=True)
    assert [int(batch["x"]) for batch in batches] == [16, 1]
