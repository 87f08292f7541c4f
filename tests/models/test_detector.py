import pytest
import torch
from torch import nn
from torch.testing import assert_close
from torchvision.models.detection import fasterrcnn_resnet50_fpn

from quatrain.cost import count_multiply_adds
from quatrain.cost.count import build_on_meta, meta_image
from quatrain.models import frozen_backbone
from quatrain.models.detector import Detector, DetectorLayers, DetectorSpec, Targets
from quatrain.models.frozen_backbone import FrozenBackboneSpec
from quatrain.models.frozen_maps import pad_image
from quatrain.models.resnet import ResNetSpec
from quatrain.nn.layers import GatedResidual
from quatrain.nn.mixers import parse_mixer
from quatrain.nn.parameters import param_groups
from quatrain.specs import DataError, SpecError, canonical

TINY = {"channels": 16, "head_channels": 16, "train_proposals": 20, "test_proposals": 20}


def tiny(mixer="w/o", **fields):
    backbone = ResNetSpec(depth=18, width=8, norm="group", mixer=parse_mixer(mixer, heads=2))
    return DetectorSpec(**({"backbone": backbone, **TINY} | fields))


def built(spec, seed=0):
    torch.manual_seed(seed)
    return spec.build(classes=3)


def pictures(*sizes):
    generator = torch.Generator().manual_seed(1)
    return [
        torch.randint(0, 256, (3, *size), generator=generator, dtype=torch.uint8) for size in sizes
    ]


TARGETS = [
    Targets(torch.tensor([[4.0, 6.0, 40.0, 30.0], [20.0, 2.0, 60.0, 44.0]]), torch.tensor([1, 3])),
    Targets(torch.zeros(0, 4), torch.zeros(0, dtype=torch.int64)),
]


@pytest.fixture(scope="module")
def both():
    """torchvision's detector and ours, with the same weights."""
    torch.manual_seed(0)
    theirs = fasterrcnn_resnet50_fpn(
        weights=None, weights_backbone=None, num_classes=4, min_size=64, max_size=96
    )
    spec = DetectorSpec(backbone=ResNetSpec(norm="batch"), anchor_scale=8)
    ours = spec.build(classes=3)
    state = {
        name.replace("backbone.body.", "backbone.body.body."): value
        for name, value in theirs.state_dict().items()
    }
    assert not ours.network.load_state_dict(state, strict=False).unexpected_keys
    return ours, theirs


def test_without_mixer_its_detections_are_torchvisions(both):
    ours, theirs = (each.eval() for each in both)
    images = pictures((64, 96), (64, 80))
    with torch.no_grad():
        detections = ours(images)
        expected = theirs([image.float() / 255 for image in images])
    for detection, reference in zip(detections, expected, strict=True):
        assert len(detection.scores) > 0
        for name in ("boxes", "scores", "labels"):
            assert_close(getattr(detection, name), reference[name], rtol=1e-3, atol=1e-3)


def test_its_losses_are_torchvisions(both):
    ours, theirs = (each.train() for each in both)
    # The sampled proposals depend on the last bits of the pixels.
    theirs.transform = ours.network.transform
    images = pictures((64, 96), (64, 80))
    torch.manual_seed(3)
    losses = ours.losses(images, TARGETS)
    torch.manual_seed(3)
    expected = theirs(images, [target._asdict() for target in TARGETS])
    assert losses.keys() == expected.keys()
    for name, value in losses.items():
        assert_close(value, expected[name], rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(
    "mixer", ["0010", "0111", "dynamic@3", "dcnv3", "deformable", "1111+deformable"]
)
def test_with_a_mixer_it_starts_as_the_plain_detector_with_the_same_weights(mixer):
    plain, mixed = built(tiny()).eval(), built(tiny(mixer)).eval()
    images = pictures((64, 50))
    assert_close(mixed(images)[0].scores, plain(images)[0].scores)
    parameters = dict(mixed.network.named_parameters())
    shared = {
        name: weight
        for name, weight in plain.network.named_parameters()
        if "backbone.body" not in name
    }
    assert {name.split(".")[0] for name in shared} == {"backbone", "rpn", "roi_heads"}
    assert all(torch.equal(parameters[name], weight) for name, weight in shared.items())


def test_images_of_a_batch_may_differ_in_size_and_have_no_objects():
    detector = built(tiny("0010")).train()
    losses = detector.losses(pictures((64, 96), (50, 41)), TARGETS)
    assert all(torch.isfinite(loss) for loss in losses.values())
    sum(losses.values()).backward()
    assert all(
        torch.isfinite(parameter.grad).all()
        for parameter in detector.parameters()
        if parameter.grad is not None
    )


@pytest.mark.parametrize("norm", ["group", "batch"])
def test_losses_in_evaluation_mode_do_not_update_statistics(norm):
    backbone = ResNetSpec(depth=18, width=8, norm=norm)
    detector = built(tiny(backbone=backbone))
    losses = {}
    for mode in (True, False):
        detector.train(mode)
        before = {name: value.clone() for name, value in detector.state_dict().items()}
        torch.manual_seed(2)
        losses[mode] = detector.losses(pictures((64, 96), (50, 41)), TARGETS)
        assert all(part.training == mode for part in detector.modules())
        changed = [n for n, value in detector.state_dict().items() if value.ne(before[n]).any()]
        assert bool(changed) == (mode and norm == "batch")
    assert losses[False].keys() == losses[True].keys()
    for name, value in losses[False].items():
        assert torch.equal(value, losses[True][name]) == (norm == "group")


def test_the_mode_is_restored_after_an_error():
    detector = built(tiny()).eval()
    empty_box = [Targets(torch.tensor([[9.0, 9.0, 9.0, 20.0]]), torch.tensor([1]))]
    with pytest.raises(AssertionError, match="positive height and width"):
        detector.losses(pictures((64, 96)), empty_box)
    assert not any(part.training for part in detector.modules())


def test_images_are_not_resized():
    detector = built(tiny()).eval()
    assert detector.preprocess(pictures((33, 70))[0]).shape == (1, 3, 64, 96)
    boxes = detector(pictures((33, 70)))[0].boxes
    assert boxes[:, 0::2].max() <= 70
    assert boxes[:, 1::2].max() <= 33


def test_anchor_sizes_are_multiples_of_the_strides():
    generator = built(tiny(anchor_scale=4)).network.rpn.anchor_generator
    assert generator.sizes == ((16,), (32,), (64,), (128,), (256,))
    assert generator.aspect_ratios == ((0.5, 1.0, 2.0),) * 5
    with pytest.raises(SpecError) as caught:
        DetectorSpec(anchor_scale=0)
    assert caught.value.field == "DetectorSpec.anchor_scale"


def test_anchor_sizes_follow_the_strides_of_a_dilated_network():
    spec = tiny(anchor_scale=4, backbone=ResNetSpec(depth=18, width=8, output_stride=8))
    detector = built(spec).eval()
    maps = detector.network.backbone(detector.preprocess(pictures((64, 96))[0]))
    assert [64 // each.shape[2] for each in maps.values()] == [4, 8, 8, 8, 16]
    sizes = detector.network.rpn.anchor_generator.sizes
    assert sizes == ((16,), (32,), (32,), (32,), (64,))


def test_coordinates_are_float32_under_autocast(monkeypatch):
    detector = built(tiny(backbone=ResNetSpec(depth=18, width=8, norm="eval"))).train()
    dtypes = []
    heads = detector.network.roi_heads

    def forward(maps, proposals, sizes, targets):
        dtypes.append(proposals[0].dtype)
        return type(heads).forward(heads, maps, proposals, sizes, targets)

    monkeypatch.setattr(heads, "forward", forward)
    narrow = [Targets(torch.tensor([[1101.0, 8.0, 1106.0, 40.0]]), torch.tensor([2]))]
    with torch.autocast("cpu", torch.bfloat16):
        losses = detector.losses(pictures((64, 1344)), narrow)
    assert dtypes == [torch.float32]
    assert all(loss.isfinite() for loss in losses.values())
    assert sum(losses.values()).requires_grad


def test_the_default_freezes_the_stages_of_the_paper():
    with torch.device("meta"):
        detector = DetectorSpec().build(classes=80)
    trained = {name for name, each in detector.named_parameters() if each.requires_grad}
    assert not any("body.conv1" in name or "body.layer1" in name for name in trained)
    assert any("body.layer2" in name and "bn" in name for name in trained)
    norms = [part for part in detector.train().modules() if isinstance(part, nn.BatchNorm2d)]
    assert len(norms) == 53
    assert not any(part.training for part in norms)
    DetectorLayers(detector, 5)(torch.empty(1, 3, 64, 96, dtype=torch.uint8, device="meta"))


PYRAMID_MIXERS = ("1111", "dynamic@3", "deformable-attention", "w/o+deformable", "0010+deformable")


@pytest.fixture(scope="module")
def frozen(tmp_path_factory):
    """A spec with a frozen backbone, by the mixer of its pyramid."""
    cache = str(tmp_path_factory.mktemp("features"))

    def make(mixer="w/o", **fields):
        backbone = FrozenBackboneSpec(cache=cache)
        chosen = {"backbone": backbone, "pyramid_mixer": parse_mixer(mixer, heads=2)}
        return DetectorSpec(**(chosen | TINY | {"norm": "group"} | fields))

    return make


def plain_names(module):
    """The parameters of a module by the names that they have without a mixer."""
    return {
        name.replace(".original.", ".").replace(".block.", "."): value
        for name, value in module.named_parameters()
    }


@pytest.mark.parametrize("norm", ["none", "group"])
@pytest.mark.parametrize("mixer", PYRAMID_MIXERS)
@pytest.mark.parametrize("is_frozen", [True, False])
def test_with_a_mixer_in_its_pyramid_it_starts_as_the_plain_detector(
    mixer, norm, is_frozen, frozen, one_thread
):
    fields = {"backbone": (frozen() if is_frozen else tiny()).backbone, "norm": norm}
    plain = built(tiny(**fields)).eval()
    mixed = built(tiny(**fields, pyramid_mixer=parse_mixer(mixer, heads=2))).eval()
    images = pictures((64, 50))
    assert_close(mixed(images)[0].scores, plain(images)[0].scores, rtol=1e-4, atol=1e-5)
    shared, parameters = plain_names(plain), plain_names(mixed)
    assert shared.keys() < parameters.keys()
    assert [name for name in shared if not torch.equal(parameters[name], shared[name])] == []


def test_attention_follows_laterals_and_convolutions_replace_outputs_of_the_pyramid(frozen):
    detector = built(frozen("0010+deformable"))
    fpn = detector.network.backbone.fpn
    gated = {name for name, part in fpn.named_modules() if isinstance(part, GatedResidual)}
    assert gated == {"inner_blocks.2.block", "inner_blocks.3.block"}
    deformable = {
        name for name, part in fpn.named_modules() if type(part).__name__ == "DeformableConv"
    }
    assert {name.rpartition(".0.")[0] for name in deformable} == {
        f"layer_blocks.{index}" for index in (1, 2, 3)
    }
    assert {group["lr_scale"] for group in param_groups(detector, lr=1.0)} == {1.0, 0.1}
    sizes = []
    hook = fpn.inner_blocks[2].block.register_forward_hook(
        lambda _, args, output: sizes.append((args[0].shape, output.shape))
    )
    detector.eval()(pictures((33, 70)))
    hook.remove()
    assert sizes == [((1, 16, 4, 6), (1, 16, 4, 6))]


@pytest.mark.parametrize("mixer", ["w/o", "1111+deformable"])
def test_all_but_a_frozen_backbone_is_trained(mixer, frozen):
    detector = built(frozen(mixer)).train()
    losses = detector.losses(pictures((64, 96), (50, 41)), TARGETS)
    sum(losses.values()).backward()
    assert all(each.grad.isfinite().all() for each in detector.parameters())
    assert not any(".body." in name for name in detector.state_dict())
    features = detector.frozen_backbone.features
    assert all(each.grad is None for each in features.model.parameters())
    assert built(tiny()).frozen_backbone is None


def test_a_batch_needs_no_other_features_than_its_images_alone(frozen, tmp_path, monkeypatch):
    detector = built(frozen("0110", backbone=FrozenBackboneSpec(cache=str(tmp_path)))).eval()
    images = pictures((33, 70), (64, 96))
    for image in images:
        detector([image])
    assert len([*tmp_path.rglob("*.safetensors")]) == 2
    monkeypatch.setattr(detector.frozen_backbone.features, "_compute", None)
    assert len(detector(images)) == 2


@pytest.mark.parametrize("mixer", ["w/o", "1111", "0010+deformable"])
def test_a_saved_detector_is_loaded_with_the_weights_of_its_backbone(
    mixer, frozen, tmp_path, monkeypatch
):
    detector = built(frozen(mixer)).eval()
    detector.save_pretrained(tmp_path)
    loaded = Detector.from_pretrained(tmp_path)
    assert loaded.spec == detector.spec
    images = pictures((64, 50))
    assert torch.equal(loaded(images)[0].scores, detector(images)[0].scores)
    monkeypatch.setattr(frozen_backbone, "_packaged_file", lambda: tmp_path / "missing.pth")
    with pytest.raises(DataError) as caught:
        Detector.from_pretrained(tmp_path)
    assert caught.value.field == "weights_file"


def test_multiply_adds_on_the_meta_device_include_the_frozen_backbone(frozen):
    spec, image = frozen("0110"), pictures((64, 96))[0][None]
    on_meta = DetectorLayers(build_on_meta(spec, 3), 5)
    counted = count_multiply_adds(on_meta, meta_image((64, 96)))
    layers = DetectorLayers(built(spec), 5)
    assert counted == count_multiply_adds(layers, image)
    backbone = count_multiply_adds(layers.detector.frozen_backbone, image)
    assert counted > backbone > 0
    odd = count_multiply_adds(on_meta, meta_image((50, 70)))
    assert odd == counted
    assert pad_image(meta_image((50, 70))).shape == (1, 3, 64, 96)


def test_the_input_of_a_frozen_backbone_has_a_mask(frozen):
    image = pictures((33, 70))[0]
    batch = built(frozen()).preprocess(image)
    assert batch.shape == (1, 4, 64, 96)
    assert batch.dtype == torch.uint8
    assert torch.equal(batch[0, :3, :33, :70], image)
    assert batch[0, 3].sum() == 33 * 70


def test_specs_keep_their_backbone_in_json(frozen):
    chosen = frozen("0010+deformable")
    assert DetectorSpec.from_json(chosen.to_json()) == chosen
    assert type(DetectorSpec.from_json(DetectorSpec().to_json()).backbone) is ResNetSpec
    assert canonical(chosen)["backbone"]["spec"] == "FrozenBackboneSpec"
    assert chosen.strides == DetectorSpec().strides == (4, 8, 16, 32, 64)
    assert canonical(DetectorSpec()).keys() == {"spec", "revision", "backbone"}


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"channels": 20, "pyramid_mixer": parse_mixer("0010")}, "heads"),
        ({"backbone": 3}, "DetectorSpec.backbone.ResNetSpec"),
        (
            {"backbone": {"kind": "frozen", "weights": "IMAGENET1K_V1"}},
            "FrozenBackboneSpec.weights",
        ),
        ({"backbone": {"kind": "frozen", "depth": 18}}, "FrozenBackboneSpec.depth"),
        ({"backbone": {"kind": "other"}}, "ResNetSpec.kind"),
    ],
)
def test_fields_that_do_not_fit_are_refused(fields, field):
    with pytest.raises(SpecError) as caught:
        DetectorSpec(**fields)
    assert caught.value.field.endswith(field)
