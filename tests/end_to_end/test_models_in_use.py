"""A ResNet and a vision transformer with mixers: compiled, exported, in parallel, and the like.

Copies and files are tested in test_saved_models.py, masks in tests/insertion/test_model_mask.py.
"""

import os
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.testing import assert_close
from torch.utils.checkpoint import checkpoint
from torchvision.models import VisionTransformer
from torchvision.models.feature_extraction import create_feature_extractor
from torchvision.models.resnet import BasicBlock, ResNet

import quatrain
from laws import unchecked

ROOT = Path(__file__).parents[2]
IMAGES = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
NETWORKS = {
    "ResNet": (partial(ResNet, BasicBlock, [1, 1, 1, 1], num_classes=5), "layer2.0"),
    "ViT": (partial(VisionTransformer, 32, 8, 2, 2, 32, 64, num_classes=5),
            "encoder.layers.encoder_layer_1"),
}  # fmt: skip
"""A class and a place in it."""


@pytest.fixture(params=NETWORKS)
def network(request):
    """A network with a mixer whose gamma is 1, and the name of its place."""
    build, place = NETWORKS[request.param]
    torch.manual_seed(0)
    model = build().eval()
    mixer = quatrain.parse_mixer("1111", heads=4)
    surgery = quatrain.insert(model, mixer, after=place, example=IMAGES, seed=1)
    nn.init.ones_(surgery.wrappers[place].block.gamma)
    for parameter in model.get_submodule("fc" if "layer2.0" in place else "heads").parameters():
        nn.init.normal_(parameter)  # torchvision's ViT begins with zeros
    return model, place


def gradients(model, y):
    model.zero_grad()
    y.square().mean().backward()
    return {name: each.grad.clone() for name, each in model.named_parameters()}


def test_maps_in_channels_last_memory_give_the_same(network):
    model, images = network[0].double(), IMAGES.double()
    expected = model(images)
    model.to(memory_format=torch.channels_last)
    assert_close(model(images.to(memory_format=torch.channels_last)), expected)


def test_autocast_reaches_the_mixer(network):
    model, place = network
    expected, dtypes = model(IMAGES), []
    mixer = model.get_submodule(place).block.mixer
    mixer.register_forward_hook(lambda *call: dtypes.append(call[-1].dtype))
    with torch.autocast("cpu", torch.bfloat16):
        y = model(IMAGES)
    assert dtypes == [torch.bfloat16]
    assert_close(y.float(), expected, rtol=0.1, atol=0.1 * expected.abs().max().item())
    assert all(each.isfinite().all() for each in gradients(model, y).values())


@pytest.mark.parametrize("reentrant", [False, True])
def test_gradients_of_a_checkpointed_place_are_the_same(network, reentrant):
    model, place, images = network[0].double(), network[1], IMAGES.double()
    expected = gradients(model, model(images))
    wrapper = model.get_submodule(place)
    wrapper.forward = partial(checkpoint, wrapper.forward, use_reentrant=reentrant)
    assert_close(gradients(model, model(images)), expected)


def test_features_are_extracted_at_the_place_and_in_the_block(network):
    model, place = network
    with unchecked():
        extractor = create_feature_extractor(model, {place: "after", f"{place}.original": "before"})
    features = extractor(IMAGES)
    assert features["after"].shape == features["before"].shape
    assert not torch.allclose(features["after"], features["before"])
    block = model.get_submodule(place).block
    assert_close(features["after"], block(features["before"]))


@pytest.mark.slow
@pytest.mark.compile
def test_a_compiled_network_has_the_same_outputs_and_gradients(network):
    torch.compiler.reset()
    model, _ = network
    expected = model(IMAGES)
    grads = gradients(model, expected)
    y = torch.compile(model, fullgraph=True, backend="aot_eager")(IMAGES)
    assert_close(y, expected)
    assert_close(gradients(model, y), grads, rtol=1e-4, atol=1e-3)


@pytest.mark.slow
@pytest.mark.compile
def test_a_network_is_exported(network):
    model, _ = network
    exported = torch.export.export(model, (IMAGES,)).module()
    assert_close(exported(IMAGES), model(IMAGES))


@pytest.mark.slow
def test_two_processes_have_the_gradients_of_one_under_ddp_and_fsdp(tmp_path):
    script = ROOT / "tests" / "fake" / "parallel.py"
    environment = os.environ | {"PYTHONPATH": str(ROOT / "src"), "OMP_NUM_THREADS": "1"}
    processes = [
        subprocess.Popen(
            [sys.executable, str(script), str(tmp_path / "rendezvous"), str(rank)],
            env=environment,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    errors = [process.communicate(timeout=240)[1] for process in processes]
    assert [process.returncode for process in processes] == [0, 0], errors
