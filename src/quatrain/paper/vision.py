"""The cost of detection and segmentation: what attention adds to the network, from real modules.

The base network of the paper's count cannot be recovered exactly, so `computed` is the published
cost without attention plus what our modules add in the paper's convention; our own base network
stands beside it, and `executed` is that and what our methods add. The modules are built and
counted on the meta device, at the sizes of the paper's residual blocks.
"""

import functools
from dataclasses import dataclass

import torch
from torch import nn

from quatrain.cost import count_multiply_adds
from quatrain.nn.deformable_conv import DeformableConvSpec
from quatrain.nn.mixers import Mixer, parse_mixer, split_mixer
from quatrain.nn.regular_conv import RegularConvSpec
from quatrain.paper import base_network, counting
from quatrain.paper.base_network import VisionTask
from quatrain.paper.published import Point, configurations


@dataclass(frozen=True)
class Place:
    """So many blocks of one stage: the channels and the map that a module there sees."""

    stage: int
    blocks: int
    channels: int
    sizes: tuple[int, int]


ATTENTION: dict[VisionTask, tuple[Place, ...]] = {
    "detection": (Place(4, 6, 256, (50, 84)), Place(5, 3, 512, (25, 42))),
    "segmentation": (
        Place(4, 6, 256, (96, 96)),
        Place(5, 3, 512, (96, 96)),
        Place(6, 1, 512, (96, 96)),
    ),
}
"""Where attention or dynamic convolution sits; stage 6 is the module after the backbone."""
DEFORMABLE: dict[VisionTask, tuple[Place, ...]] = {
    "detection": (Place(3, 4, 128, (100, 168)), *ATTENTION["detection"]),
    "segmentation": (Place(3, 4, 128, (96, 96)), *ATTENTION["segmentation"][:2]),
}
"""Where a deformable convolution takes the place of the 3 x 3."""


@dataclass(frozen=True)
class Overhead:
    """Multiply-adds above the base network: in the paper's convention, and as executed."""

    computed: int
    executed: int


@dataclass(frozen=True)
class VisionCost:
    """Giga multiply-adds of one configuration, the base network's published cost included.

    `base_computed` is our own base network, which need not be the paper's; `executed` is that and
    `overhead_executed`, which our methods really do above it.
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
    """A row for every configuration of the task's part of figure 3 and of tables 2 and 3.

    Source: Zhu et al. 2019, https://arxiv.org/abs/1904.05873, figure 3 (a, b), tables 2 and 3.
    """
    figure = {"detection": "figure-3a", "segmentation": "figure-3b"}[task]
    points = [p for table in (figure, "table-2", "table-3") for p in configurations(table, task)]
    (base,) = {p.giga_multiply_adds for p in points if p.config == "w/o"}
    return [_row(task, base, point) for point in points]


def _row(task: VisionTask, base: float, point: Point) -> VisionCost:
    added = overhead(task, point.config)
    own = base_network.multiply_adds(task)
    return VisionCost(
        table=point.table,
        config=point.config,
        published=point.giga_multiply_adds,
        computed=base + added.computed / 1e9,
        base_computed=own / 1e9,
        executed=(own + added.executed) / 1e9,
        overhead_executed=added.executed / 1e9,
        note=point.note,
    )


@functools.cache
def overhead(task: VisionTask, config: str) -> Overhead:
    """What a configuration adds to the base network.

    A deformable convolution adds what it costs beyond the regular one whose place it takes:
    nothing in the paper's convention, the branch that predicts offsets as executed.
    """
    convolution, attention = split_mixer(parse_mixer(config))
    computed = executed = 0
    if attention is not None:
        for place in ATTENTION[task]:
            module = _on_meta(attention, place)
            computed += place.blocks * counting.mixer(module, place.sizes)
            executed += place.blocks * _executed(module, place)
    if isinstance(convolution, DeformableConvSpec):
        for place in DEFORMABLE[task]:
            deformable, regular = (
                _executed(_on_meta(spec, place), place) for spec in (convolution, RegularConvSpec())
            )
            executed += place.blocks * (deformable - regular)
    return Overhead(computed, executed)


def _on_meta(spec: Mixer, place: Place) -> nn.Module:
    with torch.device("meta"):
        return spec.build(place.channels, ndim=2)


def _executed(module: nn.Module, place: Place) -> int:
    return count_multiply_adds(module, torch.empty(1, place.channels, *place.sizes, device="meta"))
