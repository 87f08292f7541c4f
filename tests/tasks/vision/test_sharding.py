import subprocess
import sys
from collections import Counter

import pytest

from quatrain.specs import InputError
from quatrain.tasks.vision.sharding import merged, own_shard, shard


@pytest.mark.parametrize("items", [0, 1, 5, 8])
@pytest.mark.parametrize("processes", [1, 2, 3])
def test_each_item_goes_to_one_process(items, processes):
    taken = [shard(items, process=one, processes=processes) for one in range(processes)]
    assert sorted(index for part in taken for index in part) == list(range(items))


def test_a_process_that_is_not_there_is_refused():
    with pytest.raises(InputError, match="process is 2, expected one of the 2 processes"):
        shard(5, process=2, processes=2)


def test_a_process_alone_has_all_items_and_the_whole_metric():
    assert own_shard(5) == range(5)
    assert merged(Counter("aab")) == Counter("aab")


TOGETHER = """
import sys
from collections import Counter
from torch import distributed
from quatrain.tasks.vision.sharding import merged, own_shard

distributed.init_process_group(
    "gloo", init_method="file://" + sys.argv[1], rank=int(sys.argv[2]), world_size=2
)
own = own_shard(5)
whole = merged(Counter({index: 1 for index in own}))
print(len(own), sorted(whole.items()))
distributed.destroy_process_group()
"""


def test_processes_together_share_the_items_and_all_get_the_sum(tmp_path):
    started = [
        subprocess.Popen(
            [sys.executable, "-c", TOGETHER, str(tmp_path / "store"), str(process)],
            stdout=subprocess.PIPE,
            text=True,
        )
        for process in range(2)
    ]
    said = [process.communicate()[0].split(" ", 1) for process in started]
    assert [int(own) for own, _ in said] == [3, 2]
    assert {whole.strip() for _, whole in said} == {str([(index, 1) for index in range(5)])}
