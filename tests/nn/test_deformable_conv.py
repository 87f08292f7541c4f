import pytest
import torch
from torch.testing import assert_close

from quatrain.nn import DeformableConv, RegularConv
from quatrain.ops.deform import sampled_conv
from quatrain.specs import SpecError


def test_offsets_move_the_taps():
    """Equation 4 of the paper, with an offset of half a position for every tap."""
    module = DeformableConv(4, kernel=3, ndim=1, dtype=torch.float64)
    torch.nn.init.constant_(module.offset.bias, 0.5)
    x = torch.randn(1, 5, 4, dtype=torch.float64)
    padded = torch.nn.functional.pad(x, (0, 0, 1, 2))
    between = (padded[:, :-1] + padded[:, 1:]) / 2
    expected = sum(between[:, tap : tap + 5] @ module.weight[:, :, tap].T for tap in range(3))
    assert_close(module(x), expected)


@pytest.mark.parametrize("modulated", [False, True])
def test_both_methods_agree_on_a_map(modulated):
    module = DeformableConv(8, modulated=modulated, offset_groups=2, groups=2).double()
    torch.nn.init.normal_(module.offset.weight, std=0.3)
    x = torch.randn(2, 8, 5, 4, dtype=torch.float64)
    outputs = []
    for module.method in ("gather", "torchvision"):
        outputs.append(module(x))
    assert_close(*outputs)


@pytest.mark.parametrize("field", ["groups", "offset_groups"])
def test_groups_must_divide_the_channels(field):
    with pytest.raises(SpecError) as caught:
        DeformableConv(8, **{field: 3})
    assert caught.value.field == field


@pytest.mark.parametrize("ndim", [1, 2])
@pytest.mark.parametrize("modulated", [False, True])
def test_it_starts_as_the_regular_convolution_or_as_half_of_it(ndim, modulated):
    deformable = DeformableConv(6, modulated=modulated, ndim=ndim).double()
    regular = RegularConv(6, ndim=ndim).double()
    regular.weight.data.copy_(deformable.weight)
    x = torch.randn((2, 6, 6) if ndim == 1 else (2, 6, 3, 4), dtype=torch.float64)
    factor = 0.5 if modulated else 1.0
    assert_close(deformable(x), factor * regular(x))
    if ndim == 1:
        assert_close(deformable(x, causal=True), factor * regular(x, causal=True))


@pytest.mark.parametrize("modulated", [False, True])
@pytest.mark.parametrize(
    ("ndim", "causal", "fields"),
    [
        (2, False, {}),
        (2, False, {"stride": 2, "dilation": 2, "offset_groups": 2}),
        (1, False, {"stride": 2}),
        (1, False, {"kernel": 5, "offset_groups": 4}),
        (1, True, {}),
        (1, True, {"stride": 2, "dilation": 2}),
    ],
)
def test_the_explained_positions_and_modulations_give_the_output(ndim, causal, modulated, fields):
    module = DeformableConv(8, ndim=ndim, modulated=modulated, dtype=torch.float64, **fields)
    torch.nn.init.normal_(module.offset.weight, std=0.2)
    torch.nn.init.normal_(module.offset.bias, std=0.2)
    sizes = (5, 6) if ndim == 2 else (7,)
    x = torch.randn(2, 8, *sizes, dtype=torch.float64)
    x = x if ndim == 2 else x.transpose(1, 2)
    padding = torch.zeros(2, 30 if ndim == 2 else 7, dtype=torch.bool)
    padding[1, -2:] = True
    sampling = module.explain(x, causal=causal, key_padding_mask=padding)
    tokens = (x.flatten(2).transpose(1, 2) if ndim == 2 else x) * ~padding[..., None]
    weight = module.weight.flatten(2)
    y = sampled_conv(tokens, sampling.positions, weight, sizes, sampling.modulation, causal=causal)
    output = module(x, causal=causal, key_padding_mask=padding)
    assert_close(output.flatten(2).transpose(1, 2) if ndim == 2 else output, y)
    assert sampling.output_sizes == tuple(output.shape[2:] if ndim == 2 else output.shape[1:2])
    assert len(sampling.queries) == y.shape[1]


def test_the_explained_coordinates_count_positions_of_the_input():
    module = DeformableConv(4, stride=2)
    torch.nn.init.constant_(module.offset.bias, 0.25)
    sampling = module.explain(torch.randn(1, 4, 3, 5))
    assert sampling.output_sizes == (2, 3)
    assert sampling.queries.tolist() == [[0, 0], [0, 2], [0, 4], [2, 0], [2, 2], [2, 4]]
    assert sampling.regular[1, 0].tolist() == [-1, 1]
    assert_close(sampling.positions[0, 1, 0, 0], torch.tensor([-0.75, 1.25]))
