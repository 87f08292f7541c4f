import json
import re
import runpy
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch.testing import assert_close
from torchvision.ops import box_iou

import quatrain
from quatrain.models.detector import DetectorSpec
from quatrain.models.mmdetection import (
    Options,
    convert_mmdet,
    convert_mmdet_backbone,
    load_mmdet,
    load_mmdet_backbone,
)
from quatrain.nn.attended import AttendedSpec
from quatrain.nn.mixers import parse_mixer
from quatrain.specs import DataError, SpecError

DATA = Path(__file__).parents[1] / "data"
FORMULA = runpy.run_path(str(DATA / "mmdet_weights.py"))
SHAPES = json.loads((DATA / "mmdet_detector.json").read_text())
OUTPUTS = load_file(DATA / "mmdet_detector.safetensors")
CONFIG = """
model = dict(backbone=dict(type='ResNet', style='pytorch', plugins=[dict(cfg=dict(
    type='GeneralizedAttention', spatial_range=-1, num_heads=8, attention_type='{terms}',
    kv_stride=2), stages=(False, False, True, True), position='after_conv2')]))
"""
META = {"cfg": CONFIG.format(terms="1111"), "dataset_meta": {"classes": ("cat", "dog", "cow")}}


def names(terms="1111", *, deformable=True):
    """The names of the tensors of the network with these terms."""
    absent = [] if deformable else [r"conv_offset"]
    if terms == "0010":
        absent += [r"query_conv", r"appr_geom", r"geom_bias"]
    if terms == "w/o":
        absent += [r"gen_attention_block"]
    return [name for name in SHAPES if not any(re.search(each, name) for each in absent)]


def state(terms="1111", *, deformable=True):
    """The tensors of the narrow network."""
    return {
        name: torch.from_numpy(FORMULA["weights"](name, tuple(SHAPES[name][1]))).to(
            torch.int64 if name.endswith("tracked") else torch.float32
        )
        for name in names(terms, deformable=deformable)
    }


def saved(folder, tensors, meta=None):
    path = folder / "a.pth"
    torch.save({"state_dict": tensors, "meta": META if meta is None else meta}, path)
    return path


@pytest.fixture(scope="module")
def converted(tmp_path_factory):
    """The narrow network with attention 1111 and deformable convolution, and its notes."""
    return convert_mmdet(saved(tmp_path_factory.mktemp("a"), state()), Options())


def check_outputs(detector, name):
    """Maps are equal to 1e-4, and nearly all detections to 0.01 pixels; ties may be broken."""
    image = torch.from_numpy(FORMULA["image"](150, 203))
    expected = {key: OUTPUTS[f"{name}/{key}"] for key in ("boxes", "scores", "labels")}
    with torch.no_grad():
        maps = detector.network.backbone(detector.preprocess(image))
        [found] = detector([image])
    for key in ("conv5", "pool"):
        assert_close(maps[key], OUTPUTS[f"{name}/{key}"], rtol=0, atol=1e-4)
    index = box_iou(expected["boxes"], found.boxes).argmax(dim=1)
    equal = found.labels[index] - 1 == expected["labels"]
    equal &= (found.scores[index] - expected["scores"]).abs() < 1e-4
    equal &= (found.boxes[index] - expected["boxes"]).abs().amax(1) < 0.01
    assert len(expected["boxes"]) == 100
    assert int(equal.sum()) >= 97


def test_outputs_are_those_of_mmdetection(converted):
    check_outputs(converted[0], "attn1111-dcn")


def test_the_spec_and_notes_describe_the_network(converted):
    detector, notes = converted
    spec = detector.spec
    mixer = spec.backbone.mixer
    assert isinstance(mixer, AttendedSpec)
    assert str(mixer.attention.terms) == "1111"
    assert (mixer.attention.heads, mixer.attention.key_stride) == (8, 2)
    assert mixer.convolution == parse_mixer("deformable")
    assert (spec.backbone.inserted_stages, spec.backbone.replaced_stages) == ((4, 5), (3, 4, 5))
    assert (spec.backbone.depth, spec.backbone.width, spec.channels) == (50, 8, 16)
    assert (spec.geometry, detector.classes, detector.training) == ("mmdetection", 3, False)
    assert notes == {"source": "a.pth", "class_names": ["cat", "dog", "cow"]}


def test_the_background_moves_to_the_front_and_gets_a_box(converted):
    predictor = converted[0].network.roi_heads.box_predictor
    tensors = state()
    scores = tensors["roi_head.bbox_head.fc_cls.weight"]
    assert torch.equal(predictor.cls_score.weight, torch.cat((scores[3:], scores[:3])))
    assert torch.equal(predictor.bbox_pred.bias[4:], tensors["roi_head.bbox_head.fc_reg.bias"])
    assert predictor.bbox_pred.weight[:4].count_nonzero() == 0


def test_an_older_checkpoint_without_counters_and_configuration_is_read(tmp_path):
    tensors = {
        f"module.{name}": value
        for name, value in state("0010", deformable=False).items()
        if not name.endswith("num_batches_tracked")
    }
    path = saved(tmp_path, tensors, meta={"CLASSES": ["cat", "dog", "cow"]})
    with pytest.raises(SpecError, match="does not say heads"):
        load_mmdet(path)
    check_outputs(load_mmdet(path, heads=8, key_stride=2), "attn0010")


@pytest.mark.slow
def test_the_published_network_has_these_names_and_shapes():
    """Names and shapes in mmdetection, against those of the paper's detector, without values."""
    from quatrain.models.mmdetection import _detector_source

    mixer = parse_mixer("1111+deformable")
    backbone = DetectorSpec().backbone.model_copy(update={"mixer": mixer})
    with torch.device("meta"):
        expected = DetectorSpec(backbone=backbone).build(80).state_dict()
    sources = {name: _detector_source(name, backbone) for name in expected}
    assert {source.name for source in sources.values()} == SHAPES.keys()
    for name, source in sources.items():
        tensor = torch.empty(SHAPES[source.name][0], device="meta")
        assert source.convert(tensor).shape == expected[name].shape


def test_older_names_of_offsets_are_read(tmp_path):
    tensors = {
        re.sub(r"conv2\.conv_offset", name, key): value
        for name, (key, value) in zip(
            ["conv2_offset", "conv2.conv_offset_mask"] * 300, state("w/o").items(), strict=False
        )
    }
    backbone = load_mmdet_backbone(saved(tmp_path, tensors))
    offset = backbone.get_submodule("body.layer2.1.conv2.block.offset")
    assert torch.equal(offset.weight, state()["backbone.layer2.1.conv2.conv_offset.weight"])


def test_the_backbone_of_any_detector_is_read(tmp_path):
    tensors = state("w/o", deformable=False) | {"bbox_head.fc_cls.bias": torch.zeros(81)}
    path = saved(tmp_path, tensors, meta={})
    with pytest.raises(DataError, match=r"mmdetection 1.*load_mmdet_backbone"):
        load_mmdet(path)
    backbone, notes = convert_mmdet_backbone(path, Options())
    assert backbone.spec.mixer is None
    assert torch.equal(backbone.body.conv1.weight, tensors["backbone.conv1.weight"])
    assert notes["class_names"] == []


def without(name):
    return lambda tensors: tensors.pop(name)


def put(name, value):
    return lambda tensors: tensors.update({name: value})


ATTENTION = "backbone.layer3.2.gen_attention_block."
UNFIT = {
    "no pyramid": (without("neck.fpn_convs.0.conv.weight"), "no neck.fpn_convs.0"),
    "no heads": (without("roi_head.bbox_head.fc_cls.bias"), "Faster R-CNN"),
    "one box": (put("roi_head.bbox_head.fc_reg.bias", torch.ones(4)), "a box for each class"),
    "152 layers": (put("backbone.layer3.6.conv1.weight", torch.ones(1)), "residual blocks"),
    "one block": (without(ATTENTION + "value_conv.weight"), "attention in 5 of the 6 blocks"),
    "fallback": (without("backbone.layer2.0.conv2.conv_offset.weight"), "in 3 of the 4 blocks"),
    "window": (
        put("backbone.layer3.0.gen_attention_block.local_constraint_map", torch.ones(1)),
        "not centred",
    ),
}


@pytest.mark.parametrize(("change", "message"), UNFIT.values(), ids=UNFIT)
def test_other_networks_are_refused(tmp_path, change, message):
    tensors = state()
    change(tensors)
    with pytest.raises((DataError, SpecError), match=message) as error:
        load_mmdet(saved(tmp_path, tensors))
    assert "\n" not in str(error.value)


def test_all_tensors_that_do_not_fit_are_listed_by_their_names_in_the_file(tmp_path):
    tensors = state(deformable=False)
    del tensors["neck.lateral_convs.3.conv.bias"]
    tensors["backbone.layer1.0.conv1.weight"] = torch.zeros(8, 32, 1, 1)
    tensors[ATTENTION + "query_conv.weight"][0] = float("inf")
    tensors[ATTENTION + "appr_bias"] = torch.zeros(30)
    tensors["roi_head.mask_head.conv.weight"] = torch.zeros(1)
    with pytest.raises(DataError) as error:
        load_mmdet(saved(tmp_path, tensors))
    for problem in (
        "neck.lateral_convs.3.conv.bias is missing",
        "roi_head.mask_head.conv.weight is not in this model",
        "backbone.layer1.0.conv1.weight has shape (8, 32, 1, 1) in the file and (8, 64, 1, 1)",
        ATTENTION + "query_conv.weight has NaN or infinite numbers",
        ATTENTION + "appr_bias has shape (30,)",
    ):
        assert problem in str(error.value)


def test_terms_that_the_configuration_leaves_open_are_needed(tmp_path):
    path = saved(tmp_path, state(deformable=False), meta={})
    with pytest.raises(SpecError, match="0111 or 1011 or 1111"):
        load_mmdet(path, heads=8, key_stride=2)
    wrong = saved(tmp_path, state(deformable=False), meta={"cfg": CONFIG.format(terms="0010")})
    with pytest.raises(SpecError, match="terms=0010 does not fit"):
        load_mmdet(wrong)


@pytest.mark.parametrize(
    ("channels", "config", "expected"),
    [
        (27, "", "modulated"),
        (54, "dcn=dict(type='DCN', deform_groups=3)", 3),
        (54, "dcn=dict(modulated=True, deformable_groups=2)", 2),
        (54, "", None),
        (10, "", None),
    ],
)
def test_modulation_and_groups_follow_from_channels_and_configuration(
    tmp_path, channels, config, expected
):
    tensors = {
        name: torch.zeros(channels, *value.shape[1:]) if "conv_offset" in name else value
        for name, value in state("w/o").items()
    }
    path = saved(tmp_path, tensors, meta={"cfg": config})
    if expected is None:
        with pytest.raises(DataError, match=f"{channels} channels of offsets"):
            load_mmdet_backbone(path)
        return
    from quatrain.models import mmdetection

    _, tensors, settings = mmdetection._read(path)
    mixer = mmdetection._backbone_spec(tensors, settings, Options(), path).mixer
    if expected == "modulated":
        assert mixer == parse_mixer("modulated")
    else:
        assert mixer.offset_groups == expected


def test_a_configuration_of_another_network_is_refused(tmp_path):
    meta = {"cfg": META["cfg"].replace("pytorch", "caffe")}
    with pytest.raises(DataError, match="style=caffe") as error:
        load_mmdet(saved(tmp_path, state(), meta))
    assert error.value.field == "style"


def test_tensors_in_safetensors_are_read_too(tmp_path):
    save_file(state("w/o", deformable=False), tmp_path / "a.safetensors")
    backbone = quatrain.load_mmdet_backbone(tmp_path / "a.safetensors")
    assert backbone.spec.depth == 50
