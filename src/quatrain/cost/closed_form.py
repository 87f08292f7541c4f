"""Closed forms for our modules: sizes read from the layers, formulas from `quatrain.ops.counts`.

layer_multiply_adds(layer, batch=8, source=50, target=60)     # what running it would count
"""

import math

from torch import nn

from quatrain.nn.generalized_attention import GeneralizedAttention
from quatrain.nn.transformer import DecoderLayer, EncoderLayer, FeedForward
from quatrain.ops import counts
from quatrain.ops.attend import Method, plan
from quatrain.ops.positions import Grid


def attention_multiply_adds(
    module: GeneralizedAttention,
    batch: int,
    grid: Grid,
    *,
    masked_by_query: bool = False,
    method: Method = "auto",
) -> int:
    """The multiply-adds of one forward pass of `module`.

    `masked_by_query` tells that the call is causal or has an attend mask that differs from query
    to query; a window of the module's own is known without telling.
    """
    terms = module.spec.terms
    size = counts.AttentionSize(
        batch=batch,
        queries=math.prod(grid.queries),
        keys=math.prod(grid.keys),
        channels=module.channels,
        offsets=tuple(len(grid.offset_range(axis)) for axis in range(grid.ndim)),
        key_channels=module.value.in_features,
        masked_by_query=masked_by_query or module.spec.window is not None,
    )
    return counts.attention(terms, plan(terms, method).method, size)


def layer_multiply_adds(
    layer: EncoderLayer | DecoderLayer, *, batch: int, source: int, target: int
) -> int:
    """The multiply-adds of one layer of a translator for `batch` sentence pairs."""
    decodes = isinstance(layer, DecoderLayer)
    length = target if decodes else source
    total = _feed_forward_multiply_adds(layer.feed_forward, batch * length)
    if layer.self_attention is not None:
        mixer = layer.self_attention.mixer
        keys = -(-length // mixer.spec.key_stride)
        grid = Grid((length,), (keys,), mixer.spec.key_stride)
        total += attention_multiply_adds(mixer, batch, grid, masked_by_query=decodes)
    if isinstance(layer, DecoderLayer):
        grid = Grid((target,), (source,))
        total += attention_multiply_adds(layer.cross_attention.mixer, batch, grid)
    return total


def _feed_forward_multiply_adds(feed_forward: FeedForward, rows: int) -> int:
    return sum(
        counts.linear(rows, part.in_features, part.out_features)
        for part in feed_forward.modules()
        if isinstance(part, nn.Linear)
    )
