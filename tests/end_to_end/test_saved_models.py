"""Models with inserted mixers are copied, pickled, saved, and given to optimizers as any model."""

import copy
import pickle

import pytest
import torch
from torch import nn
from torch.testing import assert_close
from torchvision.models.resnet import BasicBlock, ResNet

import quatrain
from quatrain.models.detector import DetectorSpec
from quatrain.models.resnet import ResNetSpec
from quatrain.models.segmenter import SegmenterSpec
from quatrain.models.translator import TranslatorSpec

IMAGES = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
MIXERS = ("1111", "0010", "deformable", "modulated", "dynamic", "lightweight", "0010+deformable")
MIXERS += ("deformable-attention", "dcnv3", "dcnv4")


def plain(seed=0):
    torch.manual_seed(seed)
    return ResNet(BasicBlock, [1, 1, 1, 1], num_classes=5).eval()


def insert(network, name):
    """Insert a mixer after a block, and replace a convolution by the deformable one."""
    mixer = quatrain.parse_mixer(name, heads=4)
    quatrain.insert(network, mixer, after="layer2.0", example=IMAGES, seed=1)
    quatrain.replace(network, quatrain.DeformableConvSpec(), at="layer4.0.conv2", seed=1)
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for key, parameter in network.named_parameters():
            if "gamma" in key or "offset" in key:
                parameter.copy_(torch.rand(parameter.shape, generator=generator) / 4)
    return network


def assert_separate(one, other):
    """Two modules have equal tensors and outputs, and share no memory."""
    assert_close(one.state_dict(), other.state_dict(), rtol=0, atol=0)
    with torch.no_grad():
        assert_close(other(IMAGES), one(IMAGES), rtol=0, atol=0)
    addresses = {each.data_ptr() for each in one.parameters()}
    assert not addresses & {each.data_ptr() for each in other.parameters()}


@pytest.mark.parametrize("name", MIXERS)
def test_a_model_with_mixers_is_copied_and_pickled(name):
    model = insert(plain(), name)
    assert_separate(model, copy.deepcopy(model))
    assert_separate(model, pickle.loads(pickle.dumps(model)))


@pytest.mark.parametrize("name", MIXERS)
def test_weights_are_exchanged_by_state_dict(name):
    model = insert(plain(), name)
    other = insert(plain(seed=1), name)
    other.load_state_dict(model.state_dict())
    assert_separate(model, other)
    other.load_state_dict(plain().state_dict())  # saved before the insertion
    with torch.no_grad():  # gammas and offsets stay as they were
        assert_close(other(IMAGES), model(IMAGES), rtol=1e-4, atol=1e-4)
    without = copy.deepcopy(model)
    quatrain.remove(without)
    network = plain(seed=1)
    network.load_state_dict(without.state_dict())  # as names of the network without mixers
    assert_separate(plain(), network)
    with pytest.raises(RuntimeError, match=r"Unexpected key.*layer2\.0\.block"):
        network.load_state_dict(model.state_dict())


@pytest.mark.parametrize("name", MIXERS)
@pytest.mark.parametrize("shared", [False, True])
def test_parameter_groups_have_each_parameter_once(name, shared):
    model = insert(plain(), name)
    model.conv1.weight.requires_grad_(requires_grad=False)
    if shared:
        model.other = nn.ModuleList([model.layer4[0].conv2, model.fc])
    groups = quatrain.param_groups(model, lr=0.1, weight_decay=0.01)
    members = [each for group in groups for each in group["params"]]
    assert len({id(each) for each in members}) == len(members)
    trained = {id(each) for each in model.parameters() if each.requires_grad}
    assert {id(each) for each in members} == trained
    slow = {id(each) for group in groups if group["lr_scale"] == 0.1 for each in group["params"]}
    assert slow == {id(each) for key, each in model.named_parameters() if "offset" in key}
    assert {group["lr"] for group in groups} == {0.1, 0.1 * 0.1}
    assert {group["weight_decay"] for group in groups} == {0.01}
    before = copy.deepcopy(model)
    optimizer = torch.optim.SGD(groups)
    model(IMAGES).square().mean().backward()
    optimizer.step()
    current = dict(model.named_parameters())
    moved = {key for key, each in before.named_parameters() if not torch.equal(each, current[key])}
    assert moved >= {key for key, each in current.items() if each.grad is not None and each.any()}
    assert "conv1.weight" not in moved


MODELS = {
    "detector": lambda body: DetectorSpec(backbone=body, channels=16, head_channels=16).build(3),
    "segmenter": lambda body: SegmenterSpec(backbone=body, channels=16, norm="group").build(3),
    "translator": lambda _: TranslatorSpec(width=16, layers=1, feed_forward=16).build(9),
}


@pytest.mark.parametrize("create", MODELS.values(), ids=MODELS)
def test_the_models_of_the_library_are_copied_and_pickled(create):
    mixer = quatrain.parse_mixer("0010+deformable", heads=2)
    body = ResNetSpec(
        depth=18, width=8, norm="group", mixer=mixer, inserted_stages=(5,), replaced_stages=(5,)
    )
    model = create(body)
    for other in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert other.spec == model.spec
        assert_close(other.state_dict(), model.state_dict(), rtol=0, atol=0)
        other.load_state_dict(model.state_dict())
