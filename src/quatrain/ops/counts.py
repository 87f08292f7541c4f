"""Closed forms of the multiply-adds that our operators execute: integers in, an integer out.

They hold for the matrix products alone; element-wise work, softmax and alignment count nothing.
The counter in `quatrain.cost` arrives at the same numbers by watching the operators run.

    size = AttentionSize(batch=1, grid=Grid((50,), (50,)), channels=512)
    attention(Term.parse("1111"), "reference", size)

h heads of width d cost what one head of width h * d costs, but where a head has a channel more.

torch's own kernel is counted with all pairs, as torch counts it, also where it is causal and passes
over about half of them.

Terms that do not depend on the query are computed once for all queries, so 0010 costs one row of
weights where 1000 costs a row for each query. In the reference a mask that differs from query to
query (causal, window, attend mask) undoes that for the weighted sum.

Source: Zhu et al. 2019, https://arxiv.org/abs/1904.05873, table 1, gives the orders of growth.
Differs: these are exact counts of what is executed; the paper's own convention is in
`quatrain.paper.counting`.
"""

import functools
import math
from dataclasses import dataclass

from quatrain.ops import dynamic
from quatrain.ops.attention import separable
from quatrain.ops.attention.blockwise import loop as blocked
from quatrain.ops.attention.blockwise.query_block import blocks
from quatrain.ops.attention.plan import ConcreteMethod, plan
from quatrain.ops.attention.pooled import BLOCK
from quatrain.ops.positions import Grid
from quatrain.ops.support import FULL_SUPPORT, Structure
from quatrain.specs import Term


@dataclass(frozen=True)
class AttentionSize:
    """Everything that the cost of an attention depends on, besides terms and method.

    `key_channels` is None for `channels`. `heads` matter to what is held, and where each has a
    channel of its own beside those of its values.
    """

    batch: int
    grid: Grid
    channels: int
    key_channels: int | None = None
    structure: Structure = FULL_SUPPORT
    heads: int = 1

    @property
    def queries(self) -> int:
        """Queries over all axes."""
        return math.prod(self.grid.queries)

    @property
    def keys(self) -> int:
        """Keys over all axes."""
        return math.prod(self.grid.keys)

    @property
    def offsets(self) -> tuple[int, ...]:
        """The number of offsets that occur on each axis, (Q + K - 1,) on a sequence."""
        return tuple(len(self.grid.offset_range(axis)) for axis in range(self.grid.ndim))


@dataclass(frozen=True)
class BlockTotals:
    """Sums over blocks of queries: pairs of a query and a key it reaches, or a row, and offsets.

    `query_offsets` counts the offsets that occur in a block once per query, `offsets` once.
    """

    pairs: int
    row_sums: int
    query_offsets: int
    offsets: int


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
        for part in dynamic.blocks(width, along)
    )
    return rows * math.prod(above) * bands * channels


def attention(terms: Term, method: ConcreteMethod, size: AttentionSize) -> int:
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


def attend(terms: Term, method: ConcreteMethod, size: AttentionSize) -> int:
    """Logits and weighted sum, by the named method of `quatrain.ops.attention`."""
    by_method = {
        "reference": _reference,
        "pooled": _pooled,
        "separable": _separable,
        "factored": _factored,
        "fused": _fused,
    }
    return by_method[method](terms, size)


def attend_backward(terms: Term, method: ConcreteMethod, size: AttentionSize) -> int:
    """What the gradients of all operands add to `attend`.

    Every product has two gradients, each a product of the same size. Methods that do not keep
    their weights make them again first; by blocks, the mean of what enters is one more channel of
    the values, for each head. Factored makes its sums by row again, whose other two gradients are
    no product where they are of rows. Weights that are uniform by definition have no gradient.
    """
    forward = attend(terms, method, size)
    if method == "factored":
        by_row = size.batch * block_totals(size.grid, size.structure).row_sums
        again = forward - _content_logits_of_keys(terms, size)
        return 2 * forward + again - 2 * by_row * (size.channels + size.heads)
    if method == "fused" and plan(terms, size.grid, size.structure, "fused").kernel == "blockwise":
        reached = size.batch * block_totals(size.grid, size.structure).pairs
        again = forward - reached * size.channels - _content_logits_of_keys(terms, size)
        return 2 * forward + again + reached * size.heads
    if method == "fused":
        return 2 * forward + size.batch * size.queries * size.keys * size.channels
    return 2 * forward if terms else forward


def weights_held(
    terms: Term,
    method: ConcreteMethod,
    size: AttentionSize,
    *,
    training: bool = False,
    device: str = "cpu",
) -> int:
    """The most attention weights that exist at once: of all pairs only in the reference.

    torch's kernel holds a tile of a size of its own, which counts as none. Separable keeps its
    weights for the gradients; without them, on a CPU, those of the heads that are done together.
    Factored holds sums over each row of keys in their place, but for blocks that are made again.
    """
    heads = size.heads
    if method == "reference":
        by_query = terms.use_query or terms.has(Term.POSITION) or size.structure.depends_on_query
        return size.batch * heads * size.keys * (size.queries if by_query else 1)
    if method == "pooled":
        rows = min(size.keys, BLOCK + 1) if size.structure.causal else 1
        return size.batch * heads * size.keys * rows
    if method == "separable":
        (tall, wide), (above, along) = size.grid.queries, size.grid.keys
        if device == "cpu" and not training:
            heads = separable.heads_at_once(size.grid, size.batch, heads)
        if terms.has(Term.KEY) or size.structure.has_key_padding:
            return size.batch * heads * wide * above * (along + tall)
        return heads * (wide * along + tall * above)  # every row of keys is alike
    if method == "fused" and plan(terms, size.grid, size.structure, "fused").kernel == "sdpa":
        return 0
    width, product = size.channels // heads, method == "factored"
    longest = max(
        blocked.held(block, width, product=product) for block in blocks(size.grid, size.structure)
    )
    together = blocked.group_size(size.grid, size.batch, heads, width, product=product)
    return longest * math.prod(together)


def content_logits(terms: Term, size: AttentionSize) -> int:
    """Multiply-adds of E1 and E3: of every pair, or of every key where no query is asked."""
    if terms.has(Term.QUERY_KEY):
        return size.batch * size.queries * size.keys * size.channels
    return size.batch * size.keys * size.channels if terms.has(Term.KEY) else 0


def position_logits(terms: Term, size: AttentionSize) -> int:
    """Multiply-adds of E2 and E4, for each offset that occurs: by query, or for all alike."""
    if not terms.use_position:
        return 0
    asks = size.batch * size.queries if terms.has(Term.QUERY_POSITION) else 1
    return sum(asks * count * size.channels for count in size.offsets)


@functools.cache
def block_totals(grid: Grid, structure: Structure) -> BlockTotals:
    """Sums over the query blocks of one batch element."""
    pairs = by_row = asked = occurring = 0
    for block in blocks(grid, structure):
        if not all(block.keys):
            continue
        spans = [block.occurring(axis) for axis in range(grid.ndim)]
        offsets = sum(span.stop - span.start for span in spans)
        pairs += block.count * math.prod(map(len, block.keys))
        by_row += block.count * math.prod(map(len, block.keys[:-1]))
        asked += block.count * offsets
        occurring += offsets
    return BlockTotals(pairs, by_row, asked, occurring)


def _content_logits_of_keys(terms: Term, size: AttentionSize) -> int:
    """E3 without E1, which is made once, before any block."""
    return 0 if terms.has(Term.QUERY_KEY) else content_logits(terms, size)


def _reference(terms: Term, size: AttentionSize) -> int:
    pairs = size.batch * size.queries * size.keys * size.channels
    by_query = terms.use_query or terms.has(Term.POSITION) or size.structure.depends_on_query
    weighted_sum = pairs if by_query else pairs // size.queries
    return content_logits(terms, size) + position_logits(terms, size) + weighted_sum


def _pooled(terms: Term, size: AttentionSize) -> int:
    mixed = _running(size.keys) if size.structure.causal else size.keys
    return content_logits(terms, size) + size.batch * mixed * size.channels


def _running(keys: int) -> int:
    """Products of the running softmax: triangles, and means of blocks, which run in turn."""
    if keys <= BLOCK:
        return keys * keys
    count = -(-keys // BLOCK)
    return count * BLOCK + _running(count) + count * BLOCK * (BLOCK + 1)


def _separable(terms: Term, size: AttentionSize) -> int:
    (tall, wide), (above, along) = size.grid.queries, size.grid.keys
    contracted = above * wide * along + tall * wide * above
    logits = content_logits(terms, size) + position_logits(terms, size)
    return logits + size.batch * contracted * size.channels


def _fused(terms: Term, size: AttentionSize) -> int:
    if plan(terms, size.grid, size.structure, "fused").kernel == "blockwise":
        return _blocked(terms, size)
    return 2 * size.batch * size.queries * size.keys * size.channels


def _blocked(terms: Term, size: AttentionSize) -> int:
    totals = block_totals(size.grid, size.structure)
    vectors = totals.pairs * (2 if terms.has(Term.QUERY_KEY) else 1)
    if terms.has(Term.QUERY_POSITION):
        vectors += totals.query_offsets
    elif terms.has(Term.POSITION):
        vectors += totals.offsets
    return size.batch * vectors * size.channels + _content_logits_of_keys(terms, size)


def _factored(terms: Term, size: AttentionSize) -> int:
    """Sums over columns for each row, then over rows, of values and 1; and the tables."""
    totals = block_totals(size.grid, size.structure)
    sums = (totals.pairs + totals.row_sums) * (size.channels + size.heads)
    tables = totals.query_offsets * size.channels
    return size.batch * (sums + tables) + _content_logits_of_keys(terms, size)
