import pytest
import torch
from torch.testing import assert_close

from quatrain.nn import DeformableAttention, param_groups
from quatrain.nn.deformable_attention import reset_sampling
from quatrain.specs import SpecError

EIGHT = [(0, 1), (1, 1), (1, 0), (1, -1), (0, -1), (-1, -1), (-1, 0), (-1, 1)]


def test_at_first_the_points_of_each_head_lie_in_its_direction_with_equal_weights():
    module = DeformableAttention(16, heads=8, points=3)
    sampling = module.explain(torch.randn(1, 16, 2, 3))
    distances = torch.arange(1.0, 4)[:, None]
    expected = torch.tensor(EIGHT)[:, None] * distances
    assert_close(sampling.offset, expected.expand(1, 6, -1, -1, -1), rtol=0, atol=1e-6)
    assert_close(sampling.modulation, torch.full((1, 6, 8, 3), 1 / 3))
    assert sampling.queries[:, None].eq(sampling.regular).all()


def test_directions_on_a_sequence_are_forward_and_backward_on_each_level():
    offset, weights = torch.nn.Linear(2, 16), torch.nn.Linear(2, 16)
    reset_sampling(offset, weights, heads=4, points=2, ndim=1, levels=2)
    assert_close(offset.bias.view(4, 2, 2)[:, 0], offset.bias.view(4, 2, 2)[:, 1])
    assert_close(offset.bias.view(4, 2, 2)[:, 0, 0].abs(), torch.ones(4))
    assert offset.bias.sum() == 0
    assert not weights.weight.any()


def test_the_output_is_the_weighted_sum_of_sampled_values():
    """Equation 2 of the paper, with offsets of whole cells."""
    module = DeformableAttention(4, heads=1, points=1, dtype=torch.float64)
    x = torch.randn(1, 4, 3, 5, dtype=torch.float64)
    value = module.value(x.movedim(1, -1))
    shifted = torch.cat((value[:, :, 1:], torch.zeros_like(value[:, :, :1])), 2)
    assert_close(module(x), module.output(shifted).movedim(-1, 1))


def test_offsets_learn_at_a_tenth_of_the_rate():
    module = DeformableAttention(16)
    scaled = [group for group in param_groups(module, lr=1.0) if group["lr_scale"] == 0.1]
    assert [len(group["params"]) for group in scaled] == [2]
    assert set(scaled[0]["params"]) == set(module.offset.parameters())


def test_heads_must_divide_the_channels():
    with pytest.raises(SpecError) as caught:
        DeformableAttention(12)
    assert caught.value.field == "heads"
