"""Closed forms of multiply-adds, to which the tests compare the counter.

Sizes come from the layers, formulas from `quatrain.ops.counts`.
"""

import math
from dataclasses import replace

from torch import nn

from quatrain.cost import count_multiply_adds
from quatrain.cost.convention import count_attention, count_linears, count_mixer
from quatrain.nn.attended import Attended
from quatrain.nn.convolution import Convolution, RegularConv
from quatrain.nn.deformable_conv import DeformableConv
from quatrain.nn.dynamic_conv import DynamicConv, LightweightConv
from quatrain.nn.generalized_attention import GeneralizedAttention
from quatrain.nn.position_bias import ContinuousBias
from quatrain.nn.sampling_mixer import SamplingMixer
from quatrain.nn.transformer import DecoderLayer
from quatrain.ops import counts
from quatrain.ops.attention import plan
from quatrain.ops.positions import Grid
from quatrain.ops.support import FULL_SUPPORT, Structure


def mixer_multiply_adds(module, *, batch, sizes, causal=False):
    """One forward pass of a mixer over a sequence (T,) or a map (H, W)."""
    match module:
        case GeneralizedAttention():
            stride = module.spec.key_stride
            grid = Grid(sizes, tuple(-(-size // stride) for size in sizes), stride)
            return attention_multiply_adds(module, batch, grid, Structure(causal))
        case RegularConv() | DeformableConv():
            return _convolution(module, batch * math.prod(_strided(module, sizes)))
        case DynamicConv() | LightweightConv():
            return _dynamic_convolution(module, batch, sizes)
        case SamplingMixer():
            rows, taps = batch * math.prod(sizes), module.reach**module.ndim
            depthwise = counts.convolution(rows, taps, 1, module.channels)
            sums = counts.convolution(rows, module.points, 1, module.channels)
            return count_linears(module, rows) + sums + depthwise * hasattr(module, "depthwise")
        case Attended():
            convolution, attention = module.convolution, module.attention
            strided = _strided(convolution, sizes)
            total = mixer_multiply_adds(convolution, batch=batch, sizes=sizes, causal=causal)
            return total + mixer_multiply_adds(attention, batch=batch, sizes=strided, causal=causal)


def attention_multiply_adds(module, batch, grid, structure=FULL_SUPPORT, *, method="auto"):
    """One forward pass of attention; the window is the module's own."""
    spec = module.spec
    structure = replace(structure, window=spec.window, null_key=spec.null_key)
    size = counts.AttentionSize(
        batch=batch,
        grid=grid,
        channels=module.channels,
        key_channels=module.value.in_features,
        structure=structure,
        heads=spec.heads,
        shared_keys=spec.shares_keys,
        table=spec.table_on(module.ndim),
    )
    gate = counts.linear(batch * size.queries, module.channels, module.channels)
    joint = size.table == "joint"
    chosen = plan(spec.terms, grid, structure, method, joint_table=joint).method
    total = counts.attention(spec.terms, chosen, size) + gate * spec.gate
    if isinstance(module.relative_bias, ContinuousBias):
        total += count_linears(module.relative_bias, math.prod(size.relative_counts))
    return total


def layer_multiply_adds(layer, *, batch, source, target):
    """One layer of a translator for `batch` sentence pairs."""
    decodes = isinstance(layer, DecoderLayer)
    length = target if decodes else source
    total = count_linears(layer.feed_forward, batch * length)
    if layer.self_attention is not None:
        mixer = layer.self_attention.mixer
        total += mixer_multiply_adds(mixer, batch=batch, sizes=(length,), causal=decodes)
    if decodes:
        grid = Grid((target,), (source,))
        total += attention_multiply_adds(layer.cross_attention.mixer, batch, grid)
    return total


def translator_multiply_adds(translator, *, source, target):
    """One sentence pair."""
    sizes = {"batch": 1, "source": source, "target": target}
    layers = sum(
        layer_multiply_adds(layer, **sizes) for layer in (*translator.encoder, *translator.decoder)
    )
    return layers + counts.linear(target, translator.spec.width, translator.vocabulary)


def translator_by_convention(translator, *, source, target):
    """One sentence pair, by the paper's convention, without embeddings and the vocabulary."""
    total = 0
    for layer in (*translator.encoder, *translator.decoder):
        decodes = isinstance(layer, DecoderLayer)
        length = target if decodes else source
        total += count_linears(layer.feed_forward, length)
        if layer.self_attention is not None:
            total += count_mixer(layer.self_attention.mixer, (length,))
        if decodes:
            total += count_attention(layer.cross_attention.mixer, (target,), (source,))
    return total


def network_multiply_adds(network, plain, *inputs):
    """A network with mixers of maps: the plain network, and each mixer at the size that it gets.

    A convolution in the place of one of the plain network replaces its cost.
    """
    total, calls = int(count_multiply_adds(plain, *inputs)), []
    for mixer in _mixers(network):
        mixer.register_forward_pre_hook(lambda *call: calls.append(call))
    count_multiply_adds(network, *inputs)
    for mixer, (x, *_) in calls:
        sizes = tuple(x.shape[2:])
        total += mixer_multiply_adds(mixer, batch=x.shape[0], sizes=sizes)
        if isinstance(mixer, RegularConv | DeformableConv):
            positions = x.shape[0] * math.prod(_strided(mixer, sizes))
            total -= _kernel(mixer, positions)
    return total


def _mixers(module):
    """The mixers in a network, without the parts of composed mixers."""
    if isinstance(module, Attended | Convolution | GeneralizedAttention):
        yield module
        return
    for part in module.children():
        yield from _mixers(part)


def _strided(module, sizes):
    return tuple(-(-size // module.spec.stride) for size in sizes)


def _kernel(module, rows):
    taps = module.spec.kernel**module.ndim
    return counts.convolution(rows, taps, module.weight.shape[1], module.channels)


def _convolution(module, rows):
    if not isinstance(module, DeformableConv):
        return _kernel(module, rows)
    taps, offsets = module.spec.kernel**module.ndim, module.offset.out_channels
    return _kernel(module, rows) + counts.convolution(rows, taps, module.channels, offsets)


def _dynamic_convolution(module: nn.Module, batch, sizes):
    rows, window = batch * math.prod(sizes), (module.spec.kernel,) * module.ndim
    total = count_linears(module, rows)
    if isinstance(module, LightweightConv):
        return total + counts.convolution(rows, math.prod(window), 1, module.channels)
    return total + counts.dynamic_conv(rows // sizes[-1], sizes[-1], window, module.channels)
