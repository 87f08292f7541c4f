"""Closed forms for our modules: sizes read from the layers, formulas from `quatrain.ops.counts`.

mixer_multiply_adds(mixer, batch=2, sizes=(50, 84))           # what running it would count
layer_multiply_adds(layer, batch=8, source=50, target=60)
"""

import math
from dataclasses import replace

from torch import nn

from quatrain.nn.attended import Attended
from quatrain.nn.deformable_conv import DeformableConv
from quatrain.nn.dynamic_conv import DynamicConv, LightweightConv
from quatrain.nn.generalized_attention import GeneralizedAttention
from quatrain.nn.regular_conv import RegularConv
from quatrain.nn.transformer import DecoderLayer, EncoderLayer
from quatrain.ops import counts
from quatrain.ops.attention import Method, plan
from quatrain.ops.positions import Grid
from quatrain.ops.support import FULL_SUPPORT, Structure

Sizes = tuple[int, ...]


def mixer_multiply_adds(
    module: nn.Module, *, batch: int, sizes: Sizes, causal: bool = False
) -> int:
    """The multiply-adds of one forward pass over a sequence (T,) or a map (H, W).

    Raises:
        TypeError: if `module` is not of the union of mixers.
    """
    match module:
        case GeneralizedAttention():
            stride = module.spec.key_stride
            grid = Grid(sizes, tuple(-(-size // stride) for size in sizes), stride)
            return attention_multiply_adds(module, batch, grid, Structure(causal))
        case RegularConv() | DeformableConv():
            return _convolution(module, batch * math.prod(_reached(module, sizes)))
        case DynamicConv() | LightweightConv():
            return _windowed(module, batch, sizes)
        case Attended():
            reached = _reached(module.convolution, sizes)
            return mixer_multiply_adds(
                module.convolution, batch=batch, sizes=sizes, causal=causal
            ) + mixer_multiply_adds(module.attention, batch=batch, sizes=reached, causal=causal)
        case _:
            raise TypeError(f"{type(module).__name__} is not a mixer")


def attention_multiply_adds(
    module: GeneralizedAttention,
    batch: int,
    grid: Grid,
    structure: Structure = FULL_SUPPORT,
    *,
    method: Method = "auto",
) -> int:
    """The multiply-adds of one forward pass of `module`.

    `structure` tells what is masked in the call; the window is the module's own.
    """
    terms, structure = module.spec.terms, replace(structure, window=module.spec.window)
    size = counts.AttentionSize(
        batch=batch,
        grid=grid,
        channels=module.channels,
        key_channels=module.value.in_features,
        structure=structure,
        heads=module.spec.heads,
    )
    return counts.attention(terms, plan(terms, grid, structure, method).method, size)


def layer_multiply_adds(
    layer: EncoderLayer | DecoderLayer, *, batch: int, source: int, target: int
) -> int:
    """The multiply-adds of one layer of a translator for `batch` sentence pairs."""
    decodes = isinstance(layer, DecoderLayer)
    length = target if decodes else source
    total = linears_multiply_adds(layer.feed_forward, batch * length)
    if layer.self_attention is not None:
        mixer = layer.self_attention.mixer
        total += mixer_multiply_adds(mixer, batch=batch, sizes=(length,), causal=decodes)
    if isinstance(layer, DecoderLayer):
        grid = Grid((target,), (source,))
        total += attention_multiply_adds(layer.cross_attention.mixer, batch, grid)
    return total


def linears_multiply_adds(module: nn.Module, rows: int) -> int:
    """All linear layers in `module`, each applied to `rows` vectors."""
    return sum(
        counts.linear(rows, part.in_features, part.out_features)
        for part in module.modules()
        if isinstance(part, nn.Linear)
    )


def _reached(module: RegularConv | DeformableConv, sizes: Sizes) -> Sizes:
    return tuple(-(-size // module.spec.stride) for size in sizes)


def _convolution(module: RegularConv | DeformableConv, rows: int) -> int:
    taps, channels = module.spec.kernel**module.ndim, module.channels
    total = counts.convolution(rows, taps, module.weight.shape[1], channels)
    if isinstance(module, DeformableConv):
        total += counts.convolution(rows, taps, channels, module.offset.out_channels)
    return total


def _windowed(module: DynamicConv | LightweightConv, batch: int, sizes: Sizes) -> int:
    rows, window = batch * math.prod(sizes), (module.spec.kernel,) * module.ndim
    total = linears_multiply_adds(module, rows)
    if isinstance(module, LightweightConv):
        return total + counts.convolution(rows, math.prod(window), 1, module.channels)
    return total + counts.dynamic_conv(rows // sizes[-1], sizes[-1], window, module.channels)
