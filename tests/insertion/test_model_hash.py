import copy

import pytest
import torch
from torch import nn

from quatrain.insertion.model_hash import (
    are_equal_versions,
    structure_hash,
    tensor_bytes,
    tensor_versions,
    tensors_hash,
)
from quatrain.specs import InputError


class Scaled(nn.Module):
    def __init__(self, scale):
        super().__init__()
        self.scale = scale

    def forward(self, x):
        return self.scale * x


def network(kernel=3, scale=2.0):
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 4, kernel, padding=1), nn.BatchNorm2d(4), nn.ReLU(), Scaled(scale)
    )


def hashes(model):
    return structure_hash(model), tensors_hash(model)


def changed(change):
    """Whether structure and tensors have another hash after a change of the network."""
    model = network()
    before = hashes(model)
    change(model)
    return [left != right for left, right in zip(before, hashes(model), strict=True)]


def test_equal_networks_have_equal_hashes():
    assert hashes(network()) == hashes(network()) == hashes(copy.deepcopy(network()))
    assert all(len(text) == 64 for text in hashes(network()))


@torch.no_grad()
def test_each_change_of_tensors_changes_their_hash():
    assert changed(lambda model: model[0].weight[0, 0, 0, 0].add_(1e-6)) == [False, True]
    assert changed(lambda model: model[1].running_mean.add_(1)) == [False, True]
    assert changed(lambda model: model[0].half()) == [False, True]
    bits = changed(lambda model: model[0].bias.copy_(torch.tensor([0.0, -0.0, 0.0, 0.0])))
    assert bits == [False, True]

    def register(model):
        model[3].register_buffer("table", torch.zeros(2), persistent=False)

    assert changed(register) == [False, True]


def test_the_shape_is_hashed_and_not_only_the_bytes():
    one, other = nn.Module(), nn.Module()
    one.register_buffer("table", torch.zeros(2, 3))
    other.register_buffer("table", torch.zeros(3, 2))
    assert tensors_hash(one) != tensors_hash(other)


def test_each_change_of_structure_changes_its_hash():
    assert structure_hash(network()) != structure_hash(network(scale=3.0))
    assert structure_hash(network()) != structure_hash(network(kernel=1))

    def exchange(model):
        model[2] = nn.GELU()

    assert changed(exchange) == [True, False]
    assert changed(lambda model: model.train(mode=False)) == [False, False]


def test_networks_without_values_or_with_hidden_state_are_refused():
    with pytest.raises(InputError) as info:
        tensors_hash(network().to("meta"))
    assert "meta" in str(info.value)

    class Hidden(nn.Module):
        def get_extra_state(self):
            return 3

    with pytest.raises(InputError) as info:
        tensors_hash(nn.Sequential(Hidden()))
    assert info.value.field == "0._extra_state"


def test_versions_tell_changes_in_place_and_new_tensors():
    model = network()
    before = tensor_versions(model)
    assert are_equal_versions(before, tensor_versions(model))
    with torch.no_grad():
        model[0].bias.zero_()
    assert not are_equal_versions(before, tensor_versions(model))
    for change in (model.double, lambda: model.append(nn.Linear(2, 2))):
        before = tensor_versions(model)
        change()
        assert not are_equal_versions(before, tensor_versions(model))
    before = tensor_versions(model)
    model[0].bias = nn.Parameter(model[0].bias.detach().clone())
    assert not are_equal_versions(before, tensor_versions(model))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.uint8, torch.bool])
def test_bytes_are_those_of_the_elements_in_order(dtype):
    x = torch.arange(6).view(2, 3).to(dtype).T
    assert tensor_bytes(x).numpy().tobytes() == x.contiguous().view(torch.uint8).numpy().tobytes()
    assert tensor_bytes(torch.ones((), dtype=dtype)).numel() == dtype.itemsize
