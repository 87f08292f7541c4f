import pytest
import torch

from quatrain.cost.network import network_cost
from quatrain.models.resnet import ResNetSpec
from quatrain.nn.mixers import parse_mixer


def cost(mixer, images, **fields):
    with torch.device("meta"):
        network = ResNetSpec(mixer=parse_mixer(mixer), **fields).build()
        plain = ResNetSpec(**fields).build()
    return network_cost(network, plain, images)


@pytest.mark.parametrize("depth", [18, 50])
@pytest.mark.parametrize(
    "mixer",
    ["w/o", "0010", "0011", "0111", "1111", "0100@5", "dynamic@5", "lightweight@5",
     "deformable", "regular", "0010+deformable"],
)  # fmt: skip
def test_a_network_of_every_mixer_counts_as_its_closed_form(depth, mixer):
    images = torch.empty(2, 3, 65, 97, device="meta")
    found = cost(mixer, images, depth=depth, output_stride=16)
    assert found.counted == found.closed_form > 0


def test_a_mixer_costs_more_than_none_and_a_regular_convolution_in_a_place_does_not():
    images = torch.empty(1, 3, 64, 64, device="meta")
    none = cost("w/o", images, depth=18).counted
    assert cost("regular", images, depth=18).counted == none
    assert cost("1111", images, depth=18).counted > none
    assert cost("deformable", images, depth=18).counted > none


def test_the_network_keeps_no_hook():
    with torch.device("meta"):
        network = ResNetSpec(depth=18, mixer=parse_mixer("0010")).build()
    before = [len(part._forward_pre_hooks) for part in network.modules()]
    network_cost(network, network, torch.empty(1, 3, 32, 32, device="meta"))
    assert [len(part._forward_pre_hooks) for part in network.modules()] == before
