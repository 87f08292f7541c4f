import pytest
import torch
from torch.nn.functional import avg_pool2d
from torch.testing import assert_close
from torchvision.ops import deform_conv2d as torchvision_deform_conv2d

from quatrain.nn import DCNv3, DCNv4
from quatrain.specs import SpecError

KINDS = [DCNv3, DCNv4]
every_kind = pytest.mark.parametrize("kind", KINDS)


def as_map(tokens, like):
    return tokens.transpose(1, 2).reshape(len(like), -1, *like.shape[2:])


@every_kind
def test_a_group_is_torchvisions_modulated_convolution_with_identity_matrices(kind):
    torch.manual_seed(0)
    module = kind(8, groups=2, dtype=torch.float64)
    for parameter in (*module.offset.parameters(), *module.weights.parameters()):
        torch.nn.init.normal_(parameter, std=0.3)
    x = torch.randn(2, 8, 5, 4, dtype=torch.float64)
    sampling = module.explain(x)
    value = as_map(module.value(x.flatten(2).transpose(1, 2)), x)
    weight = torch.eye(4, dtype=torch.float64)[:, :, None, None].expand(-1, -1, 3, 3)
    groups = [
        torchvision_deform_conv2d(
            value[:, 4 * group : 4 * group + 4],
            as_map(sampling.offset[:, :, group].flatten(2), x),
            weight,
            padding=1,
            mask=as_map(sampling.modulation[:, :, group], x),
        )
        for group in range(2)
    ]
    y = torch.cat(groups, 1).flatten(2).transpose(1, 2)
    assert_close(module(x), as_map(module.output(y), x))


@every_kind
def test_it_starts_as_the_mean_over_the_window(kind):
    module = kind(8, kernel=5, groups=2, dtype=torch.float64)
    x = torch.randn(2, 8, 6, 4, dtype=torch.float64)
    value = as_map(module.value(x.flatten(2).transpose(1, 2)), x)
    mean = avg_pool2d(value, 5, stride=1, padding=2).flatten(2).transpose(1, 2)
    assert_close(module(x), as_map(module.output(mean), x))


def test_weights_of_dcnv3_sum_to_one_and_those_of_dcnv4_have_any_sign():
    x, sums = torch.randn(1, 16, 3, 4), []
    for kind in KINDS:
        module = kind(16)
        torch.nn.init.normal_(module.weights.weight)
        sums.append(module.explain(x).modulation.sum(-1))
    assert_close(sums[0], torch.ones_like(sums[0]))
    assert sums[1].amin() < 0


@every_kind
def test_groups_must_divide_the_channels(kind):
    with pytest.raises(SpecError) as caught:
        kind(24)
    assert caught.value.field == "groups"
