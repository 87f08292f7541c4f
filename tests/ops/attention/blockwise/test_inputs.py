import math

import pytest
import torch
from torch.testing import assert_close

from quatrain.ops.attention.blockwise.inputs import Factors, add, add_product, excluded, is_excluded


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_what_stands_for_no_weight_is_a_power_of_two_whose_sums_are_finite(dtype):
    lowest = excluded(dtype)
    assert math.frexp(-lowest)[0] == 0.5
    assert torch.isfinite(torch.tensor(lowest, dtype=dtype) * 4)
    assert torch.tensor(lowest, dtype=dtype).item() == lowest
    logits = torch.tensor([lowest, lowest * 0.75, 0.0], dtype=dtype)
    assert is_excluded(logits).tolist() == [True, True, False]


def factors():
    return Factors(
        value=torch.randn(2, 3, 5, 4),
        asks=torch.randn(2, 3, 6, 2),
        key=torch.randn(2, 3, 5, 2),
        key_logits=torch.randn(1, 3, 5),
        position_query=None,
        attend_mask=torch.ones(2, 1, 6, 5, dtype=torch.bool),
        relative=(torch.randn(3, 10, 2),),
    )


def test_a_part_is_a_view_and_keeps_what_is_one_for_all():
    made = factors()
    part = made.part(slice(1, 2), slice(0, 2))
    assert part.value.shape == (1, 2, 5, 4)
    assert part.key_logits.shape == (1, 2, 5)
    assert part.attend_mask.shape == (1, 1, 6, 5)
    assert part.position_query is None
    part.value.zero_()
    part.relative[0].zero_()
    assert made.value[1, :2].abs().sum() == made.relative[0][:2].abs().sum() == 0


def test_zeros_have_the_shapes_of_what_has_gradients_and_keys_turned_in_memory():
    made = factors()
    zeros = made.zeros()
    for name in ("value", "asks", "key", "key_logits"):
        assert_close(getattr(zeros, name), torch.zeros_like(getattr(made, name)))
    assert zeros.attend_mask is zeros.position_query is None
    assert zeros.value.mT.is_contiguous()
    assert zeros.key.mT.is_contiguous()


def test_adding_sums_over_what_is_one_for_all():
    total, part = torch.ones(1, 3, 4), torch.randn(2, 3, 4)
    add(total, part)
    assert_close(total, 1 + part.sum(0, keepdim=True))


def test_a_product_is_added_in_place_into_a_view():
    memory = torch.randn(2, 3, 4, 6)
    before, left, right = memory.clone(), torch.randn(2, 1, 4, 5), torch.randn(2, 1, 5, 6)
    add_product(memory[:, 1], left, right)
    before[:, 1] += (left @ right)[:, 0]
    assert_close(memory, before)
