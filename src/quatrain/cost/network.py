"""Multiply-adds of a network with mixers in it, found in two ways that must agree.

    plain = ResNetSpec(depth=50).build()
    attended = ResNetSpec(depth=50, mixer=parse_mixer("0010+deformable")).build()
    network_cost(attended, plain, images)     # NetworkCost(counted=..., closed_form=...)

Both networks may lie on the meta device, where counting costs nothing.
"""

import math
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from typing import Any

from torch import Tensor, nn

from quatrain.cost.closed_form import Sizes, mixer_multiply_adds
from quatrain.cost.count import count_multiply_adds
from quatrain.nn.attended import Attended
from quatrain.nn.convolution import Convolution
from quatrain.nn.deformable_conv import DeformableConv
from quatrain.nn.generalized_attention import GeneralizedAttention
from quatrain.nn.regular_conv import RegularConv
from quatrain.ops import counts


@dataclass(frozen=True)
class NetworkCost:
    """Multiply-adds of one pass, as counted while it ran and by closed forms of its mixers."""

    counted: int
    closed_form: int


def network_cost(network: nn.Module, plain: nn.Module, *inputs: Any) -> NetworkCost:
    """The cost of `network(*inputs)`, which is `plain` with mixers of maps in it.

    The closed form is the count of the plain network, and each mixer's own at the size of the map
    that reached it; a regular or deformable convolution takes the place of one in the plain
    network, whose cost is taken off.
    """
    reached: list[tuple[nn.Module, Tensor]] = []
    with ExitStack() as hooks:
        for mixer in _mixers(network):
            handle = mixer.register_forward_pre_hook(partial(_note, reached))
            hooks.callback(handle.remove)
        counted = count_multiply_adds(network, *inputs)
    closed = count_multiply_adds(plain, *inputs)
    for mixer, x in reached:
        sizes = tuple(x.shape[2:])
        closed += mixer_multiply_adds(mixer, batch=x.shape[0], sizes=sizes)
        if isinstance(mixer, RegularConv | DeformableConv):
            closed -= x.shape[0] * _replaced(mixer, sizes)
    return NetworkCost(counted, closed)


def _note(reached: list[tuple[nn.Module, Tensor]], mixer: nn.Module, inputs: Any) -> None:
    reached.append((mixer, inputs[0]))


def _mixers(module: nn.Module) -> Iterator[nn.Module]:
    """The mixers in a network, and not the parts of mixers that are made of others."""
    if isinstance(module, Attended | Convolution | GeneralizedAttention):
        yield module
        return
    for part in module.children():
        yield from _mixers(part)


def _replaced(mixer: RegularConv | DeformableConv, sizes: Sizes) -> int:
    """The convolution of the same weight, on one image."""
    positions = math.prod(-(-size // mixer.spec.stride) for size in sizes)
    taps, width = mixer.spec.kernel**mixer.ndim, mixer.weight.shape[1]
    return counts.convolution(positions, taps, width, mixer.channels)
