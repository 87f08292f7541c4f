"""The cost of detection and segmentation in figure 3 and tables 2 and 3, from our modules.

The base network of the paper's count cannot be recovered exactly. `computed` is therefore the
published cost without attention plus the cost of our modules in the paper's convention. `executed`
is our own base network plus what our methods execute. Modules are built and counted on the meta
device, at the sizes of the paper's residual blocks.
"""

import functools
from dataclasses import dataclass
from typing import Literal

import torch

from quatrain.cost import count_multiply_adds
from quatrain.cost.convention import count_mixer
from quatrain.cost.count import build_on_meta, meta_image
from quatrain.models.detector import DetectorLayers, DetectorSpec
from quatrain.models.segmenter import SegmenterSpec
from quatrain.nn.convolution import RegularConvSpec
from quatrain.nn.deformable_conv import DeformableConvSpec
from quatrain.nn.mixers import Mixer, parse_mixer, split_mixer
from quatrain.paper.published import configurations

VisionTask = Literal["detection", "segmentation"]

IMAGE_SIZES: dict[VisionTask, tuple[int, int]] = {
    "detection": (800, 1344),
    "segmentation": (768, 768),
}
"""Height and width in pixels. The detector pads the paper's 800 x 1333 to 800 x 1344; 768 x 768
gives the maps of 96 x 96 of the paper's count."""
_CLASSES: dict[VisionTask, int] = {"detection": 80, "segmentation": 19}


@dataclass(frozen=True)
class Stage:
    """A number of blocks with the same channels and map size (height, width)."""

    number: int
    blocks: int
    channels: int
    sizes: tuple[int, int]


ATTENTION: dict[VisionTask, tuple[Stage, ...]] = {
    "detection": (Stage(4, 6, 256, (50, 84)), Stage(5, 3, 512, (25, 42))),
    "segmentation": (
        Stage(4, 6, 256, (96, 96)),
        Stage(5, 3, 512, (96, 96)),
        Stage(6, 1, 512, (96, 96)),
    ),
}
"""Stages with attention or dynamic convolution; stage 6 is the module after the backbone."""
DEFORMABLE: dict[VisionTask, tuple[Stage, ...]] = {
    "detection": (Stage(3, 4, 128, (100, 168)), *ATTENTION["detection"]),
    "segmentation": (Stage(3, 4, 128, (96, 96)), *ATTENTION["segmentation"][:2]),
}
"""Stages in which a deformable convolution replaces the 3 x 3 convolution."""


@dataclass(frozen=True)
class Overhead:
    """Multiply-adds above the base network: in the paper's convention, and as executed."""

    computed: int
    executed: int


@dataclass(frozen=True)
class VisionCost:
    """Giga multiply-adds of one configuration, base network included.

    `base_computed` is our own base network, which may differ from the paper's; `executed` is
    `base_computed` + `overhead_executed`.
    """

    table: str
    config: str
    published: float
    computed: float
    base_computed: float
    executed: float
    overhead_executed: float
    note: str


def cost_rows(task: VisionTask) -> list[VisionCost]:
    """A row for every configuration of the task in figure 3 and tables 2 and 3.

    Source: Zhu et al. 2019, https://arxiv.org/abs/1904.05873, figure 3 (a, b), tables 2 and 3.
    """
    figure = {"detection": "figure-3a", "segmentation": "figure-3b"}[task]
    points = [p for table in (figure, "table-2", "table-3") for p in configurations(table, task)]
    (base,) = {p.giga_multiply_adds for p in points if p.config == "w/o"}
    base_executed = base_multiply_adds(task)
    rows = []
    for point in points:
        added = overhead(task, point.config)
        row = VisionCost(
            table=point.table,
            config=point.config,
            published=point.giga_multiply_adds,
            computed=base + added.computed / 1e9,
            base_computed=base_executed / 1e9,
            executed=(base_executed + added.executed) / 1e9,
            overhead_executed=added.executed / 1e9,
            note=point.note,
        )
        rows.append(row)
    return rows


@functools.cache
def base_multiply_adds(task: VisionTask) -> int:
    """Multiply-adds of our network without attention for one image.

    Detection: ResNet-50, feature pyramid, proposals and box heads. Segmentation: ResNet-50 of
    output stride 8 and the head of CCNet without its attention.

    Source: Zhu et al. 2019, https://arxiv.org/abs/1904.05873, section 4.1.
    Differs: the paper does not say what its base network contains, and its count differs from
        ours. The auxiliary head of segmentation, used in training only, is left out.
    """
    if task == "segmentation":
        network = build_on_meta(SegmenterSpec(), _CLASSES[task])
    else:
        spec = DetectorSpec()
        network = DetectorLayers(build_on_meta(spec, _CLASSES[task]), spec.test_proposals)
    return count_multiply_adds(network, meta_image(IMAGE_SIZES[task]))


def overhead(task: VisionTask, config: str) -> Overhead:
    """The cost that a configuration adds to the base network.

    A deformable convolution adds the difference to the regular convolution that it replaces:
    nothing in the paper's convention, the branch that predicts offsets as executed.
    """
    convolution, attention = split_mixer(parse_mixer(config))
    computed = executed = 0
    if attention is not None:
        for stage in ATTENTION[task]:
            count = _count(attention, stage)
            computed += stage.blocks * count.computed
            executed += stage.blocks * count.executed
    if isinstance(convolution, DeformableConvSpec):
        for stage in DEFORMABLE[task]:
            regular = _count(RegularConvSpec(), stage)
            executed += stage.blocks * (_count(convolution, stage).executed - regular.executed)
    return Overhead(computed, executed)


def _count(mixer: Mixer, stage: Stage) -> Overhead:
    """The cost of one module."""
    # Frozen specs are hashable, which the type checker does not see.
    return _count_module(mixer, stage.channels, stage.sizes)  # pyright: ignore[reportArgumentType]


@functools.cache
def _count_module(mixer: Mixer, channels: int, sizes: tuple[int, int]) -> Overhead:
    with torch.device("meta"):
        module, x = mixer.build(channels, ndim=2), torch.empty(1, channels, *sizes)
    return Overhead(count_mixer(module, sizes), count_multiply_adds(module, x))
