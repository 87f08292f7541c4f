import pytest
import torch

from quatrain.nn.convolution import InputState
from quatrain.nn.deformable_conv import DeformableConvSpec
from quatrain.nn.regular_conv import RegularConvSpec


def test_a_state_is_extended_cut_and_chosen_from():
    first, second = torch.ones(2, 1, 3), 2 * torch.ones(2, 1, 3)
    state = InputState.empty(first, length=1).append(first).append(second)
    assert state.inputs[:, :, 0].tolist() == [[0.0, 1.0, 2.0]] * 2
    assert state.last(2).inputs[:, :, 0].tolist() == [[1.0, 2.0]] * 2
    assert state.last(0).inputs.shape == (2, 0, 3)
    assert state.select(torch.tensor([1])).inputs.shape == (1, 3, 3)


@pytest.mark.parametrize("kind", [RegularConvSpec, DeformableConvSpec])
@pytest.mark.parametrize("ndim", [1, 2])
def test_a_bias_is_added_to_every_output_and_is_zero_at_first(kind, ndim):
    module = kind(bias=True).build(4, ndim)
    x = torch.randn(2, 5, 4) if ndim == 1 else torch.randn(2, 4, 5, 3)
    plain = module(x)
    assert not module.bias.any()
    with torch.no_grad():
        module.bias.copy_(torch.arange(4.0))
    added = module.bias if ndim == 1 else module.bias[:, None, None]
    torch.testing.assert_close(module(x), plain + added)
    assert "bias" not in kind().build(4, ndim).state_dict()


@pytest.mark.parametrize("kind", [RegularConvSpec, DeformableConvSpec])
def test_decoding_adds_the_bias_too(kind):
    module = kind(bias=True).build(4, ndim=1)
    torch.nn.init.ones_(module.bias)
    x, state, found = torch.randn(1, 3, 4), None, []
    for token in x.split(1, dim=1):
        y, state = module.step(token, state)
        found.append(y)
    torch.testing.assert_close(torch.cat(found, 1), module(x, causal=True))
