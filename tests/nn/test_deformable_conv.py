import pytest
import torch
from torch.testing import assert_close

from quatrain.nn import DeformableConvSpec, RegularConvSpec
from quatrain.specs import SpecError


def test_taps_are_sent_where_the_offsets_say():
    """Equation 4 of the paper, with an offset of half a step for every tap."""
    module = DeformableConvSpec(kernel=3).build(4, ndim=1).double()
    torch.nn.init.constant_(module.offset.bias, 0.5)
    x = torch.randn(1, 5, 4, dtype=torch.float64)
    padded = torch.nn.functional.pad(x, (0, 0, 1, 2))
    between = (padded[:, :-1] + padded[:, 1:]) / 2
    expected = sum(between[:, tap : tap + 5] @ module.weight[:, :, tap].T for tap in range(3))
    assert_close(module(x), expected)


@pytest.mark.parametrize("modulated", [False, True])
def test_both_methods_agree_on_a_map(modulated):
    spec = DeformableConvSpec(modulated=modulated, offset_groups=2, groups=2)
    module = spec.build(8).double()
    torch.nn.init.normal_(module.offset.weight, std=0.3)
    x = torch.randn(2, 8, 5, 4, dtype=torch.float64)
    found = []
    for module.method in ("gather", "torchvision"):
        found.append(module(x))
    assert_close(*found)


def test_groups_that_do_not_divide_the_channels_are_refused():
    with pytest.raises(SpecError, match="offset_groups is 3, expected a divisor of the 8 channels"):
        DeformableConvSpec(offset_groups=3).build(8)


@pytest.mark.parametrize("ndim", [1, 2])
@pytest.mark.parametrize("modulated", [False, True])
def test_it_begins_as_the_regular_convolution_or_as_half_of_it(ndim, modulated):
    deformable = DeformableConvSpec(modulated=modulated).build(6, ndim).double()
    regular = RegularConvSpec().build(6, ndim).double()
    regular.weight.data.copy_(deformable.weight)
    x = torch.randn((2, 6, 6) if ndim == 1 else (2, 6, 3, 4), dtype=torch.float64)
    share = 0.5 if modulated else 1.0
    assert_close(deformable(x), share * regular(x))
    if ndim == 1:
        assert_close(deformable(x, causal=True), share * regular(x, causal=True))
