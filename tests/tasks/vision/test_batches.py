import subprocess
import sys
from collections import Counter

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import distributed

from quatrain.tasks.vision.batches import (
    image_batches,
    image_generator,
    process_shard,
    sum_over_processes,
)


@given(st.integers(0, 50), st.integers(1, 20), st.integers(0, 3), st.integers(0, 3))
def test_batches_are_full_and_contain_each_image_at_most_once(images, batch, seed, epoch):
    plans = image_batches(images, batch, seed=seed, epoch=epoch)
    indices = [index for plan in plans for index in plan.indices]
    assert len(set(indices)) == len(indices)
    assert set(indices) <= set(range(images))
    if images >= batch:
        assert {len(plan.indices) for plan in plans} == {batch}
        assert images - len(indices) < batch
    else:
        assert len(indices) == images
        assert len(plans) == min(images, 1)


def test_the_order_is_a_function_of_seed_and_epoch():
    orders = {
        (seed, epoch): image_batches(40, 40, seed=seed, epoch=epoch)[0].indices
        for seed in range(2)
        for epoch in range(2)
    }
    assert len(set(orders.values())) == 4
    assert orders[1, 1] == image_batches(40, 40, seed=1, epoch=1)[0].indices


@pytest.mark.parametrize("other", [(1, 0, 0), (0, 1, 0), (0, 0, 1)])
def test_each_image_of_each_epoch_has_its_own_generator(other):
    one, same, another = (
        torch.rand(5, generator=image_generator(*key)) for key in ((0, 0, 0), (0, 0, 0), other)
    )
    assert torch.equal(one, same)
    assert not torch.equal(one, another)


def test_a_single_process_has_all_items_and_the_whole_metric():
    assert process_shard(5) == range(5)
    assert sum_over_processes(Counter("aab")) == Counter("aab")


TWO_PROCESSES = """
import sys
from collections import Counter
from torch import distributed
from quatrain.tasks.vision.batches import process_shard, sum_over_processes

distributed.init_process_group(
    "gloo", init_method="file://" + sys.argv[1], rank=int(sys.argv[2]), world_size=2
)
own = process_shard(5)
total = sum_over_processes(Counter({index: 1 for index in own}))
print(len(own), sorted(total.items()))
distributed.destroy_process_group()
"""


@pytest.mark.slow
def test_two_processes_divide_the_items_and_both_get_the_sum(tmp_path):
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", TWO_PROCESSES, str(tmp_path / "store"), str(rank)],
            stdout=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    outputs = [process.communicate()[0].split(" ", 1) for process in processes]
    assert [int(own) for own, _ in outputs] == [3, 2]
    assert {total.strip() for _, total in outputs} == {str([(index, 1) for index in range(5)])}


@pytest.mark.parametrize("items", [0, 1, 5, 8])
@pytest.mark.parametrize("processes", [1, 2, 3])
def test_each_item_belongs_to_one_process(items, processes, monkeypatch):
    monkeypatch.setattr(distributed, "is_initialized", lambda: True)
    monkeypatch.setattr(distributed, "get_world_size", lambda: processes)
    shards = []
    for rank in range(processes):
        monkeypatch.setattr(distributed, "get_rank", lambda rank=rank: rank)
        shards += process_shard(items)
    assert sorted(shards) == list(range(items))
