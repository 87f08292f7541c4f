import pytest

from quatrain.ops.attention.triton.launch_config import Tiling


@pytest.mark.parametrize(("along", "keys"), [(168, 64), (84, 32), (42, 64), (25, 32), (1, 32)])
def test_tiles_reach_as_little_beyond_a_row_as_they_can(along, keys):
    assert Tiling.of("mix", 5000, along, 32, 32, half=True).keys == keys


def test_logits_of_keys_take_the_memory_of_a_stage_where_heads_are_wide():
    def stages(width, weighed):
        return Tiling.of("both", 600, 168, width, width, half=True, weighed=weighed).stages

    assert [stages(64, True), stages(64, False), stages(32, True)] == [2, 3, 3]


@pytest.mark.parametrize("task", ["mix", "queries", "keys", "both"])
@pytest.mark.parametrize("width", [1, 16, 33, 128])
@pytest.mark.parametrize("half", [True, False])
def test_tiles_are_powers_of_two_as_wide_as_what_they_hold(task, width, half):
    tiling = Tiling.of(task, 5000, 50, width, 5, half=half)
    for size in (tiling.queries, tiling.keys, tiling.width, tiling.value_width):
        assert size >= 16
        assert size & (size - 1) == 0
    assert tiling.width >= width
