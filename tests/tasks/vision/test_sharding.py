import subprocess
import sys
from collections import Counter

import pytest

from quatrain.tasks.vision.sharding import process_shard, sum_over_processes


def test_a_single_process_has_all_items_and_the_whole_metric():
    assert process_shard(5) == range(5)
    assert sum_over_processes(Counter("aab")) == Counter("aab")


TWO_PROCESSES = """
import sys
from collections import Counter
from torch import distributed
from quatrain.tasks.vision.sharding import process_shard, sum_over_processes

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
    from torch import distributed

    monkeypatch.setattr(distributed, "is_initialized", lambda: True)
    monkeypatch.setattr(distributed, "get_world_size", lambda: processes)
    shards = []
    for rank in range(processes):
        monkeypatch.setattr(distributed, "get_rank", lambda rank=rank: rank)
        shards += process_shard(items)
    assert sorted(shards) == list(range(items))
