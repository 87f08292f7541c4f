"""Attention by blocks of queries: what one block makes is used and forgotten.

There are two ways for a block. The softmax of its logits, content and position, serves everything
(`softmaxed`): its weights are all that is ever held of the pairs of queries and keys. Where weights
are a product, on maps where no query meets key content, sums over columns and then rows hold none
(`contracted`); a block in which they may have lost anything is made again by the softmax, here, so
that nothing outside depends on the numbers.

Shapes: b batch, h heads, q queries, n queries of a block, k keys that it reaches, d e widths.
"""

import itertools
import math
from collections.abc import Iterator
from operator import attrgetter

from jaxtyping import Float
from torch import Tensor

from quatrain.ops.attention.blockwise import factored_softmax as contracted
from quatrain.ops.attention.blockwise import softmax as softmaxed
from quatrain.ops.attention.blockwise.inputs import Factors, add, excluded
from quatrain.ops.attention.blockwise.query_block import Block, blocks, table, table_gradients
from quatrain.ops.positions import Grid
from quatrain.ops.support import Structure

CELLS = 2**21
"""Numbers that are made at once, as far as one head of one block allows.

Of fewer, products get slower; measured on two cores with 8 MiB of cache, where a quarter of it
takes 1.15 to 1.4 times as long on a map of 96 x 96.
"""


def held(block: Block, width: int, *, product: bool) -> int:
    """How many numbers a head of a block holds.

    They are weights, or sums of values of this width by row beside the table of columns, which is
    there three times: by offset, by key, and as its softmax.
    """
    rows, columns = math.prod(map(len, block.keys[:-1])), len(block.keys[-1])
    return block.count * (rows * (width + 1) + 3 * columns if product else rows * columns)


def group_size(grid: Grid, batch: int, heads: int, width: int, *, product: bool) -> tuple[int, int]:
    """How many batch elements and heads have blocks that hold about `CELLS` numbers together."""
    longest = max(held(block, width, product=product) for block in blocks(grid, Structure()))
    fitting = max(1, min(heads, CELLS // longest))
    elements = max(1, CELLS // (longest * heads)) if fitting == heads else 1
    groups = -(-heads // fitting)
    return max(1, min(batch, elements)), -(-heads // groups)


def parts(factors: Factors, grid: Grid, *, product: bool) -> Iterator[tuple[slice, slice]]:
    """Batch elements and heads in groups of `group_size`."""
    batch, heads, _, width = factors.value.shape
    elements, fitting = group_size(grid, batch, heads, width, product=product)
    for element in range(0, batch, elements):
        for head in range(0, heads, fitting):
            yield slice(element, element + elements), slice(head, head + fitting)


def together(
    factors: Factors, grid: Grid, structure: Structure, *, product: bool
) -> Iterator[tuple[list[Block], contracted.Keys | None]]:
    """Blocks that reach the same keys, if any, and with `product` these keys."""
    for keys, same in itertools.groupby(blocks(grid, structure), key=attrgetter("keys")):
        if all(keys):
            found = list(same)
            yield found, _keys(factors, found[0]) if product else None


def _keys(factors: Factors, block: Block) -> contracted.Keys:
    logits = factors.key_logits
    return contracted.Keys.of(
        block.reached(factors.value, 2), None if logits is None else block.reached(logits, 2)
    )


def _tables(factors: Factors, block: Block, structure: Structure) -> list[Tensor]:
    """Position logits along each axis, `excluded` where causality or window leave a key out."""
    made = []
    if factors.position_query is not None:
        asks = factors.position_query
        asks = asks if asks.shape[2] == 1 else asks[:, :, block.queries]
        made = [table(asks, along, block, axis) for axis, along in enumerate(factors.relative)]
    if not structure.causal and structure.window is None:
        return made
    last = block.grid.ndim - 1
    outside = ~structure.allows(block.offsets(last, factors.value.device))
    if not made:
        zero = factors.value.new_zeros(())
        made = [zero.expand(1, 1, 1, len(block.keys[0]))] * last
        made.append(zero.expand(1, 1, block.count, len(block.keys[-1])))
    made[last] = made[last].masked_fill(outside, excluded(factors.value.dtype))
    return made


def mix(
    factors: Factors, grid: Grid, structure: Structure, *, product: bool
) -> Float[Tensor, "b h q e"]:
    """The weighted sum of values of each query, block by block.

    Source: Zhu et al. 2019, https://arxiv.org/abs/1904.05873, equation 2.
    """
    batch, heads, _, width = factors.value.shape
    mixed = factors.value.new_zeros(batch, heads, math.prod(grid.queries), width)
    for group in parts(factors, grid, product=product):
        _fill(mixed[group], factors.part(*group), grid, structure, product=product)
    return mixed


def _fill(
    mixed: Float[Tensor, "b h q e"],
    factors: Factors,
    grid: Grid,
    structure: Structure,
    *,
    product: bool,
) -> None:
    """Write the sums of heads that are done together."""
    turned = softmaxed.Turned(factors)
    for same, keys in together(factors, grid, structure, product=product):
        for block in same:
            tables = _tables(factors, block, structure)
            found = None if keys is None else contracted.mix(contracted.Weights.of(tables), keys)
            if found is None:
                weights = softmaxed.weights(turned, block, tables, structure)
                mixed[:, :, block.queries] = softmaxed.mix(weights, turned, block)
            else:
                mixed[:, :, block.queries] = found.mixed


def gradients(
    factors: Factors,
    grid: Grid,
    structure: Structure,
    mixed: Float[Tensor, "b h q e"],
    given: Float[Tensor, "b h q e"],
    *,
    product: bool,
) -> Factors:
    """From the gradient of `mix` to those of all factors."""
    found = factors.zeros()
    for group in parts(factors, grid, product=product):
        ours, theirs = factors.part(*group), found.part(*group)
        _add_gradients(ours, theirs, grid, structure, mixed[group], given[group], product=product)
    return found


def _add_gradients(
    factors: Factors,
    found: Factors,
    grid: Grid,
    structure: Structure,
    mixed: Float[Tensor, "b h q e"],
    given: Float[Tensor, "b h q e"],
    *,
    product: bool,
) -> None:
    """Add what all blocks give to the factors of heads that are done together."""
    turned = softmaxed.Turned(factors)
    for same, keys in together(factors, grid, structure, product=product):
        for block in same:
            tables = _tables(factors, block, structure)
            there = mixed[:, :, block.queries], given[:, :, block.queries]
            to_tables = None
            if keys is not None:
                to_tables = contracted.gradients(contracted.Weights.of(tables), keys, *there)
            if to_tables is None:
                weights = softmaxed.weights(turned, block, tables, structure)
                to_tables = softmaxed.gradients(weights, turned, found, block, *there)
            _give_to_tables(to_tables, factors, found, block)
        if keys is not None:
            to_value, to_logits = keys.gradients()
            add(same[0].reached(found.value, 2), to_value)
            if found.key_logits is not None:
                add(same[0].reached(found.key_logits, 2), to_logits)


def _give_to_tables(
    given: tuple[Tensor, ...], factors: Factors, found: Factors, block: Block
) -> None:
    """Add what gradients of a block's position tables give to what these are made of."""
    if factors.position_query is None or found.position_query is None:
        return
    here = slice(None) if factors.position_query.shape[2] == 1 else block.queries
    asks = factors.position_query[:, :, here]
    for axis, of_table in enumerate(given):
        relative = factors.relative[axis]
        to_asks, to_relative = table_gradients(of_table, asks, relative, block, axis)
        add(found.position_query[:, :, here], to_asks)
        found.relative[axis][:, block.occurring(axis)] += to_relative
