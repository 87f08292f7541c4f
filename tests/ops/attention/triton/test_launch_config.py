import pytest

from quatrain.ops.attention.triton.attention import LaunchConfig


@pytest.mark.parametrize(("row_length", "keys"), [(168, 64), (84, 32), (42, 64), (25, 32), (1, 32)])
def test_tiles_exceed_a_row_as_little_as_possible(row_length, keys):
    assert LaunchConfig.of("forward", 5000, row_length, 32, 32, half=True).keys == keys


def test_key_logits_take_the_memory_of_a_stage_where_heads_are_wide():
    def stages(width, has_key_logits):
        return LaunchConfig.of(
            "all_grads", 600, 168, width, width, half=True, has_key_logits=has_key_logits
        ).stages

    assert [stages(64, True), stages(64, False), stages(32, True)] == [2, 3, 3]


@pytest.mark.parametrize("task", ["forward", "query_grads", "key_grads", "all_grads"])
@pytest.mark.parametrize("width", [1, 16, 33, 128])
@pytest.mark.parametrize("half", [True, False])
def test_tiles_are_powers_of_two_as_wide_as_their_vectors(task, width, half):
    config = LaunchConfig.of(task, 5000, 50, width, 5, half=half)
    for size in (config.queries, config.keys, config.width, config.value_width):
        assert size >= 16
        assert size & (size - 1) == 0
    assert config.width >= width
