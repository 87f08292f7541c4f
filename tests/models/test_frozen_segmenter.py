import json

import pytest
import torch

from quatrain.cost import count_multiply_adds
from quatrain.cost.count import build_on_meta, meta_image
from quatrain.models import frozen_backbone
from quatrain.models.frozen_backbone import FrozenBackboneSpec
from quatrain.models.frozen_segmenter import FrozenSegmenter, FrozenSegmenterSpec
from quatrain.models.segmenter import resize_scores
from quatrain.nn.layers import GatedResidual
from quatrain.nn.mixers import parse_mixer
from quatrain.nn.parameters import param_groups
from quatrain.specs import DataError, SpecError, canonical

MIXERS = ("1111", "0010+deformable", "dynamic@3", "deformable-attention")
pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return str(tmp_path_factory.mktemp("features"))


def spec(cache, mixer="w/o", **fields):
    backbone = FrozenBackboneSpec(cache=cache)
    chosen = {"backbone": backbone, "channels": 16, "mixer": parse_mixer(mixer, heads=2)}
    return FrozenSegmenterSpec(**(chosen | fields))


def built(*arguments, **fields):
    torch.manual_seed(0)
    return spec(*arguments, **fields).build(classes=5).eval()


def images(height=64, width=96):
    generator = torch.Generator().manual_seed(1)
    return torch.randint(256, (2, 3, height, width), generator=generator, dtype=torch.uint8)


@pytest.mark.parametrize(
    ("maps", "size"),
    [(("conv4", "conv5"), (4, 6)), (("conv3", "conv4"), (8, 12)), (("conv5",), (2, 3))],
)
def test_scores_are_at_the_finest_map_and_logits_at_each_pixel(maps, size, cache):
    network = built(cache, maps=maps)
    main, auxiliary = network.scores(images())
    assert main.shape == (2, 5, *size)
    assert auxiliary is None
    assert torch.equal(network(images()), resize_scores(main, (64, 96)))
    assert list(network.backbone.channels) == list(maps)


def test_logits_depend_on_each_map(cache):
    network = built(cache)
    before = network(images())
    for name in ("conv4", "conv5"):
        with torch.no_grad():
            network.head.reduce[name].weight.mul_(2)
        after = network(images())
        assert not torch.equal(before, after)
        before = after


@pytest.mark.parametrize("mixer", MIXERS)
def test_weights_of_the_plain_network_do_not_depend_on_the_mixer(mixer, cache):
    plain = built(cache).state_dict()
    mixed = {
        name.replace(".0.block.", ".0."): value
        for name, value in built(cache, mixer).state_dict().items()
    }
    assert plain.keys() < mixed.keys()
    assert [name for name in plain if not torch.equal(plain[name], mixed[name])] == []
    torch.manual_seed(1)
    other = spec(cache, mixer).build(classes=5).state_dict()
    assert not torch.equal(other["head.classify.weight"], plain["head.classify.weight"])


@pytest.mark.parametrize("mixer", MIXERS)
def test_the_network_starts_as_the_plain_one(mixer, cache):
    torch.testing.assert_close(built(cache, mixer)(images()), built(cache)(images()))


def test_attention_reads_the_output_of_the_convolution_through_a_gated_residual(cache):
    network = built(cache, "0010+deformable")
    assert isinstance(network.head.attend, GatedResidual)
    assert built(cache, "w/o+deformable").head.attend is None
    inputs = []
    network.head.attend.register_forward_hook(lambda _, args, __: inputs.append(args[0]))
    network.head.convolve.register_forward_hook(lambda _, __, output: inputs.append(output))
    network(images())
    assert inputs[0] is inputs[1]
    scales = {group["lr_scale"] for group in param_groups(network, lr=1.0)}
    assert scales == {1.0, 0.1}


def test_only_the_head_is_trained_and_saved(cache):
    network = built(cache, "1111").train()
    assert all(name.startswith("head.") for name in network.state_dict())
    network.scores(images()).main.square().mean().backward()
    assert all(p.grad is not None for p in network.parameters())
    assert all(p.grad is None for p in network.backbone.features.model.parameters())


@pytest.mark.parametrize("mixer", ["w/o", "1111", "w/o+deformable"])
def test_a_saved_network_is_loaded_with_the_weights_of_its_backbone(mixer, cache, tmp_path):
    network = built(cache, mixer)
    network.save_pretrained(tmp_path)
    loaded = FrozenSegmenter.from_pretrained(tmp_path)
    assert loaded.spec == network.spec
    assert torch.equal(loaded(images()), network(images()))


def test_a_saved_network_needs_the_weights_of_its_backbone(cache, tmp_path, monkeypatch):
    built(cache).save_pretrained(tmp_path)
    monkeypatch.setattr(frozen_backbone, "_packaged_file", lambda: tmp_path / "missing.pth")
    with pytest.raises(DataError) as info:
        FrozenSegmenter.from_pretrained(tmp_path)
    assert info.value.field == "weights_file"


def test_multiply_adds_on_the_meta_device_are_those_of_the_whole_network(cache):
    network, pixels = built(cache, "0110"), images()[:1]
    on_meta = build_on_meta(network.spec, 5)
    counted = count_multiply_adds(on_meta, meta_image((64, 96)))
    assert counted == count_multiply_adds(network, pixels)
    backbone = count_multiply_adds(network.backbone, pixels)
    head = count_multiply_adds(network.head, network.backbone(pixels))
    assert counted == backbone + head
    assert backbone > 0 < head


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"maps": ("conv5", "conv4")}, "FrozenSegmenterSpec.maps"),
        ({"maps": ("conv4", "conv4")}, "FrozenSegmenterSpec.maps"),
        ({"maps": ()}, "FrozenSegmenterSpec.maps"),
        ({"channels": 20, "mixer": parse_mixer("0010")}, "heads"),
    ],
)
def test_fields_that_do_not_fit_are_refused(fields, field):
    with pytest.raises(SpecError) as info:
        FrozenSegmenterSpec(**fields)
    assert info.value.field.endswith(field)


def test_a_spec_keeps_its_identity_in_json(cache):
    chosen = spec(cache, "0010+deformable", maps=("conv3", "conv4"))
    assert FrozenSegmenterSpec.from_json(chosen.to_json()) == chosen
    assert canonical(FrozenSegmenterSpec())["spec"] == "FrozenSegmenterSpec"
    assert json.loads(FrozenSegmenterSpec().to_json())["kind"] == "frozen"


def test_missing_weights_are_an_error_when_the_network_is_built(cache):
    backbone = FrozenBackboneSpec(cache=cache, weights_file="missing.pth")
    with pytest.raises(DataError) as info:
        FrozenSegmenterSpec(backbone=backbone).build(classes=2)
    assert info.value.field == "weights_file"
