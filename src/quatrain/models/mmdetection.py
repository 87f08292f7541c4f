"""Checkpoints of mmdetection 2 and 3 as detectors: Faster R-CNN with a ResNet and a pyramid.

    detector = load_mmdet("faster_rcnn_r50_fpn_attention_1111_dcn_1x_coco.pth")
    detector.save_pretrained("r50_1111_dcn")

    backbone.layer3.0.gen_attention_block.*    attention before conv3
    backbone.layer3.0.conv2.conv_offset.*      offsets of a deformable convolution
    neck, rpn_head, roi_head.bbox_head         pyramid, proposals, classes and boxes

Differs: labels are 1 to C, with the background first and not last.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from quatrain.models.detector import Detector, DetectorSpec
from quatrain.models.mmdetection_config import (
    Settings,
    class_names,
    config_text,
    read_settings,
)
from quatrain.models.resnet import STAGES, ResNet, ResNetSpec
from quatrain.nn.attended import AttendedSpec
from quatrain.nn.deformable_conv import DeformableConvSpec
from quatrain.nn.generalized_attention import AttentionSpec
from quatrain.nn.mixers import Mixer, split_mixer
from quatrain.nn.mmcv import mmcv_sources, mmcv_spec
from quatrain.specs import DataError, SpecError, Term
from quatrain.weights import TorchFile, read_torch_file
from quatrain.weights.conversion import Source, convert_tensors

_DEPTHS: dict[tuple[bool, tuple[int, ...]], Literal[18, 34, 50, 101]] = {
    (False, (2, 2, 2, 2)): 18,
    (False, (3, 4, 6, 3)): 34,
    (True, (3, 4, 6, 3)): 50,
    (True, (3, 4, 23, 3)): 101,
}
"""Depth, by whether blocks have three convolutions and by the number of blocks of each stage."""
_ATTENTION = "gen_attention_block."
_TAPS = 9
_OLDER_NAMES = (
    (r"\.conv2_offset\.", ".conv2.conv_offset."),
    (r"\.conv2\.conv_offset_mask\.", ".conv2.conv_offset."),
)
"""Names in older files, and the later ones."""


@dataclass(frozen=True)
class Options:
    """Settings of the attention that are given by the caller; None to read the configuration."""

    terms: str | Term | None = None
    heads: int | None = None
    key_stride: int | None = None
    exact: bool = True


def load_mmdet(
    path: str | Path,
    *,
    terms: str | Term | None = None,
    heads: int | None = None,
    key_stride: int | None = None,
    exact: bool = True,
) -> Detector:
    """A detector with the weights of a checkpoint of mmdetection 2 or 3, in evaluation mode.

    Its spec has `geometry="mmdetection"`. No code of the file is executed. Resize images as the
    model was trained (its published configurations: the short side to 800 pixels, the long one to
    at most 1333).

    Args:
        path: the checkpoint, or its tensors as .safetensors.
        terms: `attention_type`; None to read it from the configuration in the file, or from the
            names of the tensors where they are unambiguous.
        heads: `num_heads` of the attention; None to read it from the configuration.
        key_stride: `kv_stride` of the attention; None to read it from the configuration.
        exact: refuse the term sets that mmcv computes from a transposed query.

    Raises:
        DataError: if the file cannot be read, is of another network, or has tensors that do not
            fit; they are listed.
        SpecError: if terms, heads or key_stride are needed, or do not fit.
    """
    return convert_mmdet(Path(path), Options(terms, heads, key_stride, exact))[0]


def load_mmdet_backbone(
    path: str | Path,
    *,
    terms: str | Term | None = None,
    heads: int | None = None,
    key_stride: int | None = None,
    exact: bool = True,
) -> ResNet:
    """The ResNet of a checkpoint of mmdetection, of any version and with any heads.

    Only tensors whose names start with "backbone." are read. Arguments and errors are those of
    `load_mmdet`.
    """
    return convert_mmdet_backbone(Path(path), Options(terms, heads, key_stride, exact))[0]


def convert_mmdet(path: Path, options: Options) -> tuple[Detector, dict[str, Any]]:
    """A detector as by `load_mmdet`, and notes on its source."""
    file, tensors, settings = _read(path)
    if any(name.startswith("bbox_head.") for name in tensors):
        text = f"{path} is of mmdetection 1, whose anchors and boxes have other coordinates"
        raise DataError(f"{text}; load its backbone with load_mmdet_backbone", str(path))
    scores, boxes = (tensors.get(f"roi_head.bbox_head.fc_{name}.bias") for name in ("cls", "reg"))
    if scores is None or boxes is None or boxes.numel() != 4 * (scores.numel() - 1):
        text = f"{path} has no roi_head.bbox_head.fc_cls and fc_reg with a box for each class"
        raise DataError(f"{text}; use a checkpoint of Faster R-CNN, or its backbone", str(path))
    width = _size(tensors, "neck.fpn_convs.0.conv.weight", path)
    backbone = _backbone_spec(tensors, settings, options, path)
    spec = DetectorSpec(
        backbone=backbone,
        channels=width,
        head_channels=_size(tensors, "roi_head.bbox_head.shared_fcs.1.weight", path),
        anchor_scale=settings.anchor_scale or 8,
        geometry="mmdetection",
    )
    classes = scores.numel() - 1
    with torch.device("meta"):
        expected = spec.build(classes).state_dict()
    sources = {name: _detector_source(name, backbone) for name in expected}
    converted = _convert(tensors, sources, expected, path, f"a detector of {classes} classes")
    with torch.random.fork_rng(devices=[]):
        detector = spec.build(classes)
    detector.load_state_dict(converted)
    return detector.eval(), _notes(file, path)


def convert_mmdet_backbone(path: Path, options: Options) -> tuple[ResNet, dict[str, Any]]:
    """A ResNet as by `load_mmdet_backbone`, and notes on its source."""
    file, tensors, settings = _read(path)
    own = {name: value for name, value in tensors.items() if name.startswith("backbone.")}
    spec = _backbone_spec(own, settings, options, path)
    with torch.device("meta"):
        expected = spec.build().state_dict()
    sources = {name: _backbone_source(name.removeprefix("body."), spec) for name in expected}
    converted = _convert(own, sources, expected, path, f"a ResNet-{spec.depth}")
    with torch.random.fork_rng(devices=[]):
        backbone = spec.build()
    backbone.load_state_dict(converted)
    return backbone.eval(), _notes(file, path)


def _read(path: Path) -> tuple[TorchFile, dict[str, Tensor], Settings]:
    file = read_torch_file(path)
    tensors: dict[str, Tensor] = {}
    for name, value in file.tensors.items():
        later = name
        for older, newer in _OLDER_NAMES:
            later = re.sub(older, newer, later)
        tensors[later] = value
    return file, tensors, read_settings(config_text(file.meta), str(path))


def _notes(file: TorchFile, path: Path) -> dict[str, Any]:
    versions = {name: file.meta.get(name) for name in ("mmdet_version", "mmengine_version")}
    known = {name: value for name, value in versions.items() if isinstance(value, str)}
    return {"source": path.name, **known, "class_names": class_names(file.meta)}


def _size(tensors: Mapping[str, Tensor], name: str, path: Path) -> int:
    """The number of outputs of a layer."""
    if name not in tensors or tensors[name].ndim < 1 or len(tensors[name]) < 1:
        text = f"{path} has no {name}"
        raise DataError(f"{text}; use a checkpoint of Faster R-CNN with a pyramid", str(path))
    return len(tensors[name])


def _backbone_spec(
    tensors: Mapping[str, Tensor], settings: Settings, options: Options, path: Path
) -> ResNetSpec:
    """The spec of the residual network with these tensors."""
    blocks = _blocks(tensors)
    counts = tuple(len(blocks[stage]) for stage in STAGES)
    bottleneck = "backbone.layer1.0.conv3.weight" in tensors
    depth = _DEPTHS.get((bottleneck, counts))
    if depth is None:
        text = f"{path} has {counts} residual blocks in the stages of its backbone"
        raise DataError(f"{text}; use a ResNet of 18, 34, 50 or 101 layers", str(path))
    inserted = _stages(blocks, _ATTENTION + "value_conv.weight", "attention", path)
    replaced = _stages(blocks, "conv2.conv_offset.weight", "a deformable convolution", path)
    attention = _attention(blocks, inserted, settings, options)
    convolution = _convolution(blocks, replaced, settings, path)
    mixer: Mixer | None = attention or convolution
    if attention is not None and convolution is not None:
        mixer = AttendedSpec(convolution=convolution, attention=attention)
    first = min((*inserted, *replaced), default=len(STAGES) + 2)
    return ResNetSpec(
        depth=depth,
        width=_size(tensors, "backbone.layer1.0.conv2.weight", path),
        mixer=mixer,
        inserted_stages=inserted or (4, 5),
        replaced_stages=replaced or (3, 4, 5),
        norm="eval",
        frozen_stages=min(2, first - 1),
    )


Blocks = dict[int, dict[int, dict[str, Tensor]]]
"""The tensors of each block, by stage, by the number of the block, and by their names in it."""


def _blocks(tensors: Mapping[str, Tensor]) -> Blocks:
    blocks: Blocks = {stage: {} for stage in STAGES}
    for name, value in tensors.items():
        match = re.fullmatch(r"backbone\.layer([1-4])\.(\d{1,3})\.(.+)", name)
        if match:
            parts = blocks[int(match[1]) + 1].setdefault(int(match[2]), {})
            parts[match[3]] = value
    return blocks


def _stages(blocks: Blocks, name: str, part: str, path: Path) -> tuple[int, ...]:
    """The stages whose blocks have a tensor of this name."""
    stages = []
    for stage, members in blocks.items():
        having = sum(name in parts for parts in members.values())
        if 0 < having < len(members):
            text = f"{path} has {part} in {having} of the {len(members)} blocks of layer{stage - 1}"
            raise DataError(f"{text}; only whole stages are supported", str(path))
        stages += [stage] if having else []
    return tuple(stages)


def _attention(
    blocks: Blocks, stages: tuple[int, ...], settings: Settings, options: Options
) -> AttentionSpec | None:
    if not stages:
        return None
    heads, key_stride = options.heads or settings.heads, options.key_stride or settings.key_stride
    for field, value in (("heads", heads), ("key_stride", key_stride)):
        if value is None:
            text = f"the file does not say {field} of its attention"
            raise SpecError(
                f"{text}; pass {field} (published models: heads=8, key_stride=2)", field
            )
    first = next(iter(blocks[stages[0]].values()))
    names = {
        name.removeprefix(_ATTENTION): value
        for name, value in first.items()
        if name.startswith(_ATTENTION)
    }
    return mmcv_spec(
        names,
        heads=heads or 1,
        key_stride=key_stride or 1,
        terms=settings.terms if options.terms is None else options.terms,
        exact=options.exact,
    )


def _convolution(
    blocks: Blocks, stages: tuple[int, ...], settings: Settings, path: Path
) -> DeformableConvSpec | None:
    if not stages:
        return None
    predicted = len(next(iter(blocks[stages[0]].values()))["conv2.conv_offset.weight"])
    plain, modulated = (predicted % (numbers * _TAPS) == 0 for numbers in (2, 3))
    if settings.modulated is not None:
        plain, modulated = plain and not settings.modulated, modulated and settings.modulated
    if plain == modulated:
        text = f"{path} has {predicted} channels of offsets, with or without modulation"
        raise DataError(f"{text}; it needs a configuration that says DCN or DCNv2", str(path))
    groups = predicted // ((3 if modulated else 2) * _TAPS)
    return DeformableConvSpec(offset_groups=groups, modulated=modulated)


def _convert(
    tensors: Mapping[str, Tensor],
    sources: Mapping[str, Source],
    expected: Mapping[str, Tensor],
    path: Path,
    target: str,
) -> dict[str, Tensor]:
    """The state_dict of a network; counters of batches may be missing from older files."""
    counters = {
        source.name: torch.zeros((), dtype=torch.int64)
        for source in sources.values()
        if source.name.endswith("num_batches_tracked")
    }
    return convert_tensors({**counters, **tensors}, sources, expected, str(path), target)


def _detector_source(name: str, backbone: ResNetSpec) -> Source:
    """The source of a tensor of the detector."""
    own = name.removeprefix("network.")
    body = own.removeprefix("backbone.body.body.")
    if body != own:
        return _backbone_source(body, backbone)
    if own.startswith("roi_heads.box_predictor.cls_score."):
        return Source("roi_head.bbox_head.fc_cls." + own.rpartition(".")[2], _background_first)
    if own.startswith("roi_heads.box_predictor.bbox_pred."):
        return Source("roi_head.bbox_head.fc_reg." + own.rpartition(".")[2], _add_background_box)
    for pattern, source in _HEADS:
        if re.match(pattern, own):
            return Source(re.sub(pattern, source, own))
    raise AssertionError(name)


_HEADS = (
    (r"backbone\.fpn\.inner_blocks\.(\d)\.0\.", r"neck.lateral_convs.\1.conv."),
    (r"backbone\.fpn\.layer_blocks\.(\d)\.0\.", r"neck.fpn_convs.\1.conv."),
    (r"rpn\.head\.conv\.0\.0\.", "rpn_head.rpn_conv."),
    (r"rpn\.head\.cls_logits\.", "rpn_head.rpn_cls."),
    (r"rpn\.head\.bbox_pred\.", "rpn_head.rpn_reg."),
    (r"roi_heads\.box_head\.fc6\.", "roi_head.bbox_head.shared_fcs.0."),
    (r"roi_heads\.box_head\.fc7\.", "roi_head.bbox_head.shared_fcs.1."),
)
"""Names of pyramid and heads in `Detector.network`, and in mmdetection."""


def _backbone_source(name: str, spec: ResNetSpec) -> Source:
    """The source of a tensor of torchvision's ResNet with mixers."""
    block, wrapped, own = name.partition("conv3.block.")
    if wrapped:
        _, attention = split_mixer(spec.mixer)
        assert isinstance(attention, AttentionSpec)  # noqa: S101 - as `_attention` made it
        source = mmcv_sources(attention)[own]
        return Source(f"backbone.{block}{_ATTENTION}{source.name}", source.convert)
    name = name.replace("conv3.original.", "conv3.")
    name = name.replace("conv2.block.offset.", "conv2.conv_offset.")
    return Source("backbone." + name.replace("conv2.block.", "conv2."))


def _background_first(tensor: Tensor) -> Tensor:
    """Move the background's row, which is mmdetection's last, to the front."""
    return torch.cat((tensor[-1:], tensor[:-1]))


def _add_background_box(tensor: Tensor) -> Tensor:
    """Prepend the background's box, which mmdetection does not have and is never used."""
    return torch.cat((torch.zeros_like(tensor[:4]), tensor))
