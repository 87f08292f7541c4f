"""Closed forms of the multiply-adds that our operators execute: integers in, an integer out.

They hold for the matrix products alone; element-wise work, softmax and alignment count nothing.
The counter in `quatrain.cost` arrives at the same numbers by watching the operators run.

    size = AttentionSize(batch=1, queries=50, keys=50, channels=512, offsets=(99,))
    attention(Term.parse("1111"), "reference", size)

Heads do not appear: h heads of width d cost what one head of width h * d costs.

Terms that do not depend on the query are computed once for all queries, so 0010 costs one row of
weights where 1000 costs a row for each query. A mask that differs from query to query (causal,
window, attend mask) undoes that for the weighted sum.

Source: Zhu et al. 2019, https://arxiv.org/abs/1904.05873, table 1, gives the orders of growth.
Differs: these are exact counts of what is executed; the paper's own convention is in
`quatrain.paper.counting`.
"""

import math
from dataclasses import dataclass
from typing import Literal

from quatrain.ops.dynamic import blocks
from quatrain.specs import Term


@dataclass(frozen=True)
class AttentionSize:
    """Everything that the cost of an attention depends on, besides terms and method.

    `queries` and `keys` count positions over all axes; `offsets` holds the number of offsets that
    occur on each axis, (Q + K - 1,) on a sequence; `key_channels` is None for `channels`.
    `masked_by_query` tells that the mask differs from query to query.
    """

    batch: int
    queries: int
    keys: int
    channels: int
    offsets: tuple[int, ...]
    key_channels: int | None = None
    masked_by_query: bool = False


def linear(rows: int, inputs: int, outputs: int) -> int:
    """A linear layer on `rows` vectors; its bias is no multiply-add.

    Example:
        >>> linear(50, 512, 2048)
        52428800
    """
    return rows * inputs * outputs


def convolution(rows: int, taps: int, inputs: int, outputs: int) -> int:
    """A convolution with `rows` output positions, of `inputs` channels for each output.

    Example:
        >>> convolution(50, 3, 512, 512)
        39321600
    """
    return rows * taps * inputs * outputs


def dynamic_conv(rows: int, width: int, window: tuple[int, ...], channels: int) -> int:
    """The band products of a dynamic convolution on `rows` rows of `width` positions.

    A block of r positions multiplies a band of r x (r + n - 1), zeros included.
    """
    *above, along = window
    bands = sum(
        (part.stop - part.start) * (part.stop - part.start + along - 1)
        for part in blocks(width, along)
    )
    return rows * math.prod(above) * bands * channels


def attention(terms: Term, method: Literal["reference", "fused"], size: AttentionSize) -> int:
    """All of a generalized attention: its projections and its `attend`."""
    return projections(terms, size) + attend(terms, method, size)


def projections(terms: Term, size: AttentionSize) -> int:
    """The projections of query, key, value and output, and of the offsets of each axis."""
    channels = size.channels
    key_channels = channels if size.key_channels is None else size.key_channels
    of_query = linear(size.batch * size.queries, channels, channels)
    of_key = linear(size.batch * size.keys, key_channels, channels)
    total = of_key + of_query  # value and output
    if terms.use_query:
        total += of_query
    if terms.use_content:
        total += of_key
    if terms.use_position:
        axes = len(size.offsets)
        total += sum(linear(count, channels // axes, channels) for count in size.offsets)
    return total


def attend(terms: Term, method: Literal["reference", "fused"], size: AttentionSize) -> int:
    """Logits and weighted sum, by the named method of `quatrain.ops.attend`."""
    pairs = size.batch * size.queries * size.keys * size.channels
    if method == "fused":
        return 2 * pairs
    by_query = terms.use_query or Term.POSITION in terms or size.masked_by_query
    weighted_sum = pairs if by_query else pairs // size.queries
    return _content_logits(terms, size) + _position_logits(terms, size) + weighted_sum


def _content_logits(terms: Term, size: AttentionSize) -> int:
    if Term.QUERY_KEY in terms:
        return size.batch * size.queries * size.keys * size.channels
    return size.batch * size.keys * size.channels if Term.KEY in terms else 0


def _position_logits(terms: Term, size: AttentionSize) -> int:
    if not terms.use_position:
        return 0
    asks = size.batch * size.queries if Term.QUERY_POSITION in terms else 1
    return sum(asks * count * size.channels for count in size.offsets)
