import pytest
import torch

from quatrain.nn import AttendedSpec, AttentionSpec, DeformableConvSpec, RegularConvSpec
from quatrain.nn.attended import AttendedState


def test_the_gate_is_there_on_maps_only_unless_it_is_said():
    for gated, ndim, there in (
        (None, 1, False),
        (None, 2, True),
        (True, 1, True),
        (False, 2, False),
    ):
        module = AttendedSpec(gated=gated, attention=AttentionSpec(heads=2)).build(8, ndim)
        assert (module.gamma is not None) is there


def test_decoding_remembers_both_parts():
    module = AttendedSpec(attention=AttentionSpec(heads=2)).build(8, ndim=1)
    _, state = module.step(torch.zeros(2, 1, 8), None)
    assert isinstance(state, AttendedState)
    chosen = state.select(torch.tensor([0]))
    assert chosen.convolution.inputs.shape[0] == chosen.attention.value.shape[0] == 1


@pytest.mark.parametrize("convolution", [RegularConvSpec(), DeformableConvSpec()])
def test_on_a_map_it_begins_as_the_convolution_bit_for_bit(convolution):
    module, x = AttendedSpec(convolution=convolution).build(16), torch.randn(2, 16, 3, 4)
    assert torch.equal(module(x), module.convolution(x))
