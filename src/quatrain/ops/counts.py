"""Closed forms of the multiply-adds that our operators execute, and of the numbers they store.

They count matrix products alone; element-wise work, softmax and relative shifts count nothing.
The counter in `quatrain.cost` gets the same numbers from the operators that run; tests compare.

    size = AttentionSize(batch=1, grid=Grid((50,), (50,)), channels=512)
    attention(Term.parse("1111"), "reference", size)

h heads of width d cost as much as one head of width h * d, unless a head has one more channel.

torch's kernel is counted with all pairs, as torch counts it, also where it is causal and skips
about half of them. A null key is one more key of this kernel, and no part of any other product.

Terms that do not depend on the query are computed once for all queries, so 0010 costs one row of
weights where 1000 costs one per query. In the reference a mask that depends on the query (causal,
window, attend mask) undoes that for the weighted sum.

Source: Zhu et al. 2019, https://arxiv.org/abs/1904.05873, table 1, gives the orders of growth.
Differs: these are exact counts of what is executed; the paper's own convention is in
`quatrain.cost.convention`.
"""

import functools
import math
from dataclasses import dataclass
from typing import Literal

from quatrain.ops import dynamic
from quatrain.ops.attention import separable
from quatrain.ops.attention.blockwise import loop
from quatrain.ops.attention.blockwise.query_block import query_blocks
from quatrain.ops.attention.plan import ConcreteMethod, is_plain_causal, plan
from quatrain.ops.attention.pooled import BLOCK
from quatrain.ops.positions import Grid
from quatrain.ops.support import FULL_SUPPORT, Structure
from quatrain.specs import Term


@dataclass(frozen=True)
class AttentionSize:
    """Everything that the cost of an attention depends on, besides terms and method.

    `key_channels` is `channels` by default. `heads` matter for memory, and for methods in which
    each head has one more channel than its values. Without `shared_keys` E1 has keys of its own:
    then E3 is one number for each key, and one more channel of a head where E1 is on. An
    axial `table` gives E4 as a number for each relative position of an axis, one more channel of a
    head; a joint one as a number for each of both axes, which no product reads.
    """

    batch: int
    grid: Grid
    channels: int
    key_channels: int | None = None
    structure: Structure = FULL_SUPPORT
    heads: int = 1
    shared_keys: bool = True
    table: Literal["axial", "joint"] | None = None

    @property
    def queries(self) -> int:
        """Queries over all axes."""
        return math.prod(self.grid.queries)

    @property
    def keys(self) -> int:
        """Keys over all axes."""
        return math.prod(self.grid.keys)

    @property
    def relative_counts(self) -> tuple[int, ...]:
        """How many relative positions occur per axis, (Q + K - 1,) on a sequence."""
        return tuple(len(self.grid.relative_range(axis)) for axis in range(self.grid.ndim))


@dataclass(frozen=True)
class BlockTotals:
    """Sums over query blocks.

    `pairs` are queries times the keys that their block reaches, `row_sums` queries times the rows
    of keys. `relative_positions` counts those that occur in each block, and
    `query_relative_positions` counts them once per query.
    """

    pairs: int
    row_sums: int
    query_relative_positions: int
    relative_positions: int


def linear(rows: int, inputs: int, outputs: int) -> int:
    """A linear layer on `rows` vectors; its bias counts nothing.

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
    *height, length = window
    bands = sum(
        (part.stop - part.start) * (part.stop - part.start + length - 1)
        for part in dynamic.band_blocks(width, length)
    )
    return rows * math.prod(height) * bands * channels


def attention(terms: Term, method: ConcreteMethod, size: AttentionSize) -> int:
    """A whole generalized attention: projections and `attend`."""
    return projections(terms, size) + attend(terms, method, size)


def projections(terms: Term, size: AttentionSize) -> int:
    """The projections of query, key, value and output, and of the encodings per axis."""
    channels = size.channels
    key_channels = channels if size.key_channels is None else size.key_channels
    by_query = linear(size.batch * size.queries, channels, channels)
    by_key = linear(size.batch * size.keys, key_channels, channels)
    total = by_key + by_query  # value and output
    if terms.use_query:
        total += by_query
    if terms.use_content:
        total += by_key
    if terms.has(Term.KEY) and not size.shared_keys:
        total += size.batch * size.keys * channels
    if _reads_encodings(terms, size):
        axes = len(size.relative_counts)
        total += sum(linear(count, channels // axes, channels) for count in size.relative_counts)
    return total


def attend(
    terms: Term, method: ConcreteMethod, size: AttentionSize, *, training: bool = True
) -> int:
    """Logits and weighted sum, by a method of `quatrain.ops.attention`.

    Without `training`, torch's kernel on a CPU takes E3 apart from E1 as a mask, not as a channel.
    """
    is_mask = not training and size.structure == FULL_SUPPORT
    if method == "fused" and is_mask and _kernel_of_fused(terms, size) == "sdpa":
        return 2 * sdpa_pairs(size) * size.channels
    by_method = {
        "reference": _reference,
        "pooled": _pooled,
        "separable": _separable,
        "factored": _factored,
        "fused": _fused,
    }
    return by_method[method](terms, size)


def attend_backward(terms: Term, method: ConcreteMethod, size: AttentionSize) -> int:
    """The gradients of all operands, in addition to `attend`.

    Every product has two gradients, each a product of the same size. Methods that do not keep
    their weights compute them again first. The blockwise backward has one more channel per head,
    for the mean of the incoming gradient. Factored computes its row sums again, and the gradients
    of the sums over rows are no matrix products. Uniform weights (0000) have no gradient.
    """
    forward = attend(terms, method, size)
    if method == "factored":
        row_sums = size.batch * block_totals(size.grid, size.structure).row_sums
        recomputed = forward - _precomputed_key_logits(terms, size)
        return 2 * forward + recomputed - 2 * row_sums * (size.channels + size.heads)
    if method == "fused" and _kernel_of_fused(terms, size) == "blockwise":
        pairs = size.batch * block_totals(size.grid, size.structure).pairs
        recomputed = forward - pairs * size.channels - _precomputed_key_logits(terms, size)
        return 2 * forward + recomputed + pairs * size.heads
    if method == "fused":
        return 2 * forward + sdpa_pairs(size) * size.channels
    return 2 * forward if terms else forward


def stored_weights(
    terms: Term,
    method: ConcreteMethod,
    size: AttentionSize,
    *,
    training: bool = False,
    device: str = "cpu",
) -> int:
    """The most attention weights that exist at once; only the reference stores those of all pairs.

    torch's kernel counts as storing none. Separable keeps its weights for the gradients; without
    gradients, on a CPU, it stores those of the heads that are computed at once. Factored stores
    sums per row of keys instead, except in blocks that fall back to the softmax.
    """
    heads = size.heads
    if method == "reference":
        by_query = terms.use_query or terms.has(Term.POSITION) or size.structure.depends_on_query
        return size.batch * heads * size.keys * (size.queries if by_query else 1)
    if method == "pooled":
        rows = min(size.keys, BLOCK + 1) if size.structure.causal else 1
        return size.batch * heads * size.keys * rows
    if method == "separable":
        (height, width), (rows, columns) = size.grid.queries, size.grid.keys
        if device == "cpu" and not training:
            heads = separable.heads_at_once(size.grid, size.batch, heads)
        if terms.has(Term.KEY) or size.structure.has_key_padding:
            return size.batch * heads * width * rows * (columns + height)
        return heads * (width * columns + height * rows)  # all rows of keys share their weights
    if method == "fused" and _kernel_of_fused(terms, size) == "sdpa":
        return 0
    width, factored = size.channels // heads, method == "factored"
    largest = max(
        loop.numbers_per_head(block, width, factored=factored)
        for block in query_blocks(size.grid, size.structure)
    )
    group = loop.group_size(size.grid, size.batch, heads, width, factored=factored)
    return largest * math.prod(group)


def content_logits(terms: Term, size: AttentionSize) -> int:
    """Multiply-adds of E1 and E3: per pair, or per key for E3 alone."""
    if terms.has(Term.QUERY_KEY):
        return size.batch * size.queries * size.keys * _content_channels(terms, size)
    return size.batch * size.keys * size.channels if terms.has(Term.KEY) and size.shared_keys else 0


def _content_channels(terms: Term, size: AttentionSize) -> int:
    """The channels of all heads in the product of E1, with E3 if it needs one in each head."""
    return size.channels + size.heads * (terms.has(Term.KEY) and not size.shared_keys)


def position_logits(terms: Term, size: AttentionSize) -> int:
    """Multiply-adds of E2 and E4: per query and relative position, or per position for E4 alone.

    A table without E2 needs none; in blocks it is a product with 1.
    """
    if not _reads_encodings(terms, size):
        return 0
    queries = size.batch * size.queries if terms.has(Term.QUERY_POSITION) else 1
    return queries * sum(size.relative_counts) * _position_channels(terms, size)


def _position_channels(terms: Term, size: AttentionSize) -> int:
    """The channels of all heads in the product of E2 and E4, of which a table is one in each."""
    by_table = terms.has(Term.POSITION) and size.table == "axial"
    return size.channels * _reads_encodings(terms, size) + size.heads * by_table


def _reads_encodings(terms: Term, size: AttentionSize) -> bool:
    """Whether a term is a product with encodings of relative positions."""
    return terms.has(Term.QUERY_POSITION) or (terms.has(Term.POSITION) and size.table is None)


@functools.cache
def block_totals(grid: Grid, structure: Structure) -> BlockTotals:
    """Sums over the query blocks of one batch element."""
    pairs = row_sums = by_query = by_block = 0
    for block in query_blocks(grid, structure):
        if not all(block.keys):
            continue
        spans = [block.relative_slice(axis) for axis in range(grid.ndim)]
        in_block = sum(span.stop - span.start for span in spans)
        pairs += block.count * math.prod(map(len, block.keys))
        row_sums += block.count * math.prod(map(len, block.keys[:-1]))
        by_query += block.count * in_block
        by_block += in_block
    return BlockTotals(pairs, row_sums, by_query, by_block)


def _precomputed_key_logits(terms: Term, size: AttentionSize) -> int:
    """E3 where E1 is off: computed once, before any block."""
    return 0 if terms.has(Term.QUERY_KEY) else content_logits(terms, size)


def _reference(terms: Term, size: AttentionSize) -> int:
    pairs = size.batch * size.queries * size.keys * size.channels
    by_query = terms.use_query or terms.has(Term.POSITION) or size.structure.depends_on_query
    weighted_sum = pairs if by_query else pairs // size.queries
    return content_logits(terms, size) + position_logits(terms, size) + weighted_sum


def _pooled(terms: Term, size: AttentionSize) -> int:
    summed = _running_softmax(size.keys) if size.structure.causal else size.keys
    return content_logits(terms, size) + size.batch * summed * size.channels


def _running_softmax(keys: int) -> int:
    """Weighted values of the running softmax: of blocks, of their means in turn, of triangles."""
    if keys <= BLOCK:
        return keys * keys
    count = -(-keys // BLOCK)
    return count * BLOCK + _running_softmax(count) + count * BLOCK * (BLOCK + 1)


def _separable(terms: Term, size: AttentionSize) -> int:
    (height, width), (rows, columns) = size.grid.queries, size.grid.keys
    summed = rows * width * columns + height * width * rows
    logits = content_logits(terms, size) + position_logits(terms, size)
    return logits + size.batch * summed * size.channels


def _fused(terms: Term, size: AttentionSize) -> int:
    if _kernel_of_fused(terms, size) == "blockwise":
        return _blockwise(terms, size)
    return 2 * sdpa_pairs(size) * _content_channels(terms, size)


def _kernel_of_fused(terms: Term, size: AttentionSize) -> str | None:
    return plan(terms, size.grid, size.structure, "fused").kernel


def sdpa_pairs(size: AttentionSize) -> int:
    """The pairs of torch's kernel; with a null key there is one more key, and a query if causal."""
    null_key = size.structure.null_key
    more_queries = null_key and is_plain_causal(size.grid, size.structure)
    return size.batch * (size.queries + more_queries) * (size.keys + null_key)


def _blockwise(terms: Term, size: AttentionSize) -> int:
    totals = block_totals(size.grid, size.structure)
    by_query = terms.has(Term.QUERY_POSITION)
    positions = totals.query_relative_positions if by_query else totals.relative_positions
    products = totals.pairs * size.channels
    if terms.has(Term.QUERY_KEY):
        products += totals.pairs * size.channels
    products += positions * _position_channels(terms, size)
    return size.batch * products + _precomputed_key_logits(terms, size)


def _factored(terms: Term, size: AttentionSize) -> int:
    """Sums over columns per row, then over rows, of values and 1; and the position bias."""
    totals = block_totals(size.grid, size.structure)
    sums = (totals.pairs + totals.row_sums) * (size.channels + size.heads)
    position_bias = totals.query_relative_positions * _position_channels(terms, size)
    return size.batch * (sums + position_bias) + _precomputed_key_logits(terms, size)
