import pytest
import torch

from quatrain.nn import Attended, AttentionSpec, DeformableConvSpec, RegularConvSpec
from quatrain.nn.attended import AttendedState


@pytest.mark.parametrize(
    ("gated", "ndim", "expected"),
    [(None, 1, False), (None, 2, True), (True, 1, True), (False, 2, False)],
)
def test_gamma_exists_on_maps_only_unless_gated_is_set(gated, ndim, expected):
    module = Attended(8, gated=gated, attention=AttentionSpec(heads=2), ndim=ndim)
    assert (module.gamma is not None) is expected


def test_its_decoding_state_holds_both_states():
    module = Attended(8, attention=AttentionSpec(heads=2), ndim=1)
    _, state = module.step(torch.zeros(2, 1, 8), None)
    assert isinstance(state, AttendedState)
    selected = state.select(torch.tensor([0]))
    assert selected.convolution.inputs.shape[0] == selected.attention.value.shape[0] == 1


@pytest.mark.parametrize("convolution", [RegularConvSpec(), DeformableConvSpec()])
def test_on_maps_it_starts_as_the_convolution_bit_for_bit(convolution):
    module, x = Attended(16, convolution=convolution), torch.randn(2, 16, 3, 4)
    assert torch.equal(module(x), module.convolution(x))


def test_on_sequences_it_adds_the_attention_from_the_start():
    module, x = Attended(16, ndim=1), torch.randn(2, 5, 16)
    convolved = module.convolution(x, causal=True)
    attended = module.attention(convolved, causal=True)
    torch.testing.assert_close(module(x, causal=True), convolved + attended)
