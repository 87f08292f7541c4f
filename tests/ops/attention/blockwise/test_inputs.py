import math

import pytest
import torch
from torch.testing import assert_close

from quatrain.ops.attention.blockwise.inputs import (
    BlockwiseInputs,
    Workspace,
    accumulate,
    accumulate_product,
    is_masked,
    mask_value,
)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_the_mask_value_is_a_power_of_two_whose_sums_are_finite(dtype):
    lowest = mask_value(dtype)
    assert math.frexp(-lowest)[0] == 0.5
    assert torch.isfinite(torch.tensor(lowest, dtype=dtype) * 4)
    assert torch.tensor(lowest, dtype=dtype).item() == lowest
    logits = torch.tensor([lowest, lowest * 0.75, 0.0], dtype=dtype)
    assert is_masked(logits).tolist() == [True, True, False]


def random_inputs():
    return BlockwiseInputs(
        value=torch.randn(2, 3, 5, 4),
        query=torch.randn(2, 3, 6, 2),
        key=torch.randn(2, 3, 5, 2),
        key_logits=torch.randn(1, 3, 5),
        position_query=None,
        attend_mask=torch.ones(2, 1, 6, 5, dtype=torch.bool),
        relative=(torch.randn(3, 10, 2),),
        joint_table=torch.randn(3, 4, 7),
    )


def test_select_gives_views_and_keeps_axes_of_size_one():
    inputs = random_inputs()
    part = inputs.select(slice(1, 2), slice(0, 2))
    assert part.value.shape == (1, 2, 5, 4)
    assert part.key_logits.shape == (1, 2, 5)
    assert part.attend_mask.shape == (1, 1, 6, 5)
    assert part.position_query is None
    part.value.zero_()
    for by_head, whole in (
        (part.relative[0], inputs.relative[0]),
        (part.joint_table, inputs.joint_table),
    ):
        by_head.zero_()
        assert whole[:2].abs().sum() == 0 < whole[2].abs().sum()
    assert inputs.value[1, :2].abs().sum() == 0


def test_zero_grads_have_the_shapes_of_inputs_and_transposed_memory_of_keys():
    inputs = random_inputs()
    grads = inputs.zero_grads()
    for name in ("value", "query", "key", "key_logits", "joint_table"):
        assert_close(getattr(grads, name), torch.zeros_like(getattr(inputs, name)))
    assert grads.attend_mask is grads.position_query is None
    assert grads.value.mT.is_contiguous()
    assert grads.key.mT.is_contiguous()


def test_accumulate_sums_over_axes_of_size_one():
    total, update = torch.ones(1, 3, 4), torch.randn(2, 3, 4)
    accumulate(total, update)
    assert_close(total, 1 + update.sum(0, keepdim=True))


def test_a_product_is_accumulated_in_place_into_a_view():
    memory = torch.randn(2, 3, 4, 6)
    before, left, right = memory.clone(), torch.randn(2, 1, 4, 5), torch.randn(2, 1, 5, 6)
    accumulate_product(memory[:, 1], left, right)
    before[:, 1] += (left @ right)[:, 0]
    assert_close(memory, before)


def test_buffers_share_memory():
    workspace, like = Workspace(), torch.zeros(1, dtype=torch.float64)
    first, smaller = workspace.buffer((3, 4), like), workspace.buffer((2, 5), like)
    assert first.shape == (3, 4)
    assert smaller.shape == (2, 5)
    assert smaller.dtype == torch.float64
    assert first.data_ptr() == smaller.data_ptr()


def test_memory_grows_for_larger_buffers_and_stays():
    workspace, like = Workspace(), torch.zeros(1)
    small = workspace.buffer((2, 2), like)
    large = workspace.buffer((3, 3), like).fill_(1.0)
    assert small.data_ptr() != large.data_ptr()
    assert workspace.buffer((2, 2), like).sum() == 4
