import pytest

from quatrain.specs import InputError
from quatrain.tasks.scenes.shards import shard


@pytest.mark.parametrize("items", [0, 1, 5, 8])
@pytest.mark.parametrize("processes", [1, 2, 3])
def test_each_item_goes_to_one_process(items, processes):
    taken = [shard(items, process=one, processes=processes) for one in range(processes)]
    assert sorted(index for part in taken for index in part) == list(range(items))


def test_a_process_that_is_not_there_is_refused():
    with pytest.raises(InputError, match="process is 2, expected one of the 2 processes"):
        shard(5, process=2, processes=2)
