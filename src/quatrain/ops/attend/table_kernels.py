"""Position tables of a map, in Triton: what one program of a GPU does.

The logit of a query at c and a key at k on an axis is asks . relative[k * stride - c + last], where
`last` is the last coordinate of a query, and LOWEST, which stands for no weight, at offsets beyond
`reach`. A tile of queries meets all offsets, and each product is written where its key is: nothing
is made by offset first and laid out by key then.

Shapes: bh batch and heads together, h heads, q queries, k keys along the axis, l offsets that occur
along it, d width of asks and encodings.

Source: Zhu et al. 2019, https://arxiv.org/abs/1904.05873, equation 2, for the logits; laying them
out so is our own.
"""

from typing import no_type_check

import triton
import triton.language as tl

from quatrain.ops.attend.tile_vectors import begin, keep, of_program, product, vectors


@triton.jit
@no_type_check
def tabulate(
    asks,  # (bh, q, d)
    relative,  # (h, l, d)
    table,  # (bh, q, k) or (bh, k, q), written
    sizes,  # of q, k, l, d and h
    place,  # of queries: how many are in a row, the last coordinate; the stride of keys, and reach
    QUERIES: tl.constexpr,
    OFFSETS: tl.constexpr,
    WIDTH: tl.constexpr,
    COLUMNS: tl.constexpr,
    LOWEST: tl.constexpr,
):
    """One tile of queries of the table of one head."""
    _, last, _, reach = place
    queries, keys, offsets, width, heads = sizes
    head, query, asked = of_program(queries, QUERIES)
    asks = begin(asks, head, queries, width, 1)
    relative = begin(relative, head % heads, offsets, width, 1)
    table = begin(table, head, queries, keys, 1)
    ours = vectors(asks, query, asked, width, 1, WIDTH)
    for first in range(0, offsets, OFFSETS):
        offset = first + tl.arange(0, OFFSETS)
        theirs = vectors(relative, offset, offset < offsets, width, 1, WIDTH)
        made = product(ours, tl.trans(theirs), table.dtype.element_ty)
        made = tl.where((tl.abs(offset - last) > reach)[None, :], LOWEST, made)
        at, inside = _where(query, offset, queries, keys, place, COLUMNS)
        tl.store(table + at, made, mask=inside)


@triton.jit
@no_type_check
def gradients_of_asks(
    given,  # as `table`
    relative,
    to_asks,  # (bh, q, d), written
    sizes,
    place,
    QUERIES: tl.constexpr,
    OFFSETS: tl.constexpr,
    WIDTH: tl.constexpr,
    COLUMNS: tl.constexpr,
):
    """Gradients of what one tile of queries asks."""
    queries, keys, offsets, width, heads = sizes
    exact = given.dtype.element_ty
    head, query, asked = of_program(queries, QUERIES)
    given = begin(given, head, queries, keys, 1)
    relative = begin(relative, head % heads, offsets, width, 1)
    to_asks = begin(to_asks, head, queries, width, 1)
    found = tl.zeros((QUERIES, WIDTH), exact)
    for first in range(0, offsets, OFFSETS):
        offset = first + tl.arange(0, OFFSETS)
        theirs = vectors(relative, offset, offset < offsets, width, 1, WIDTH)
        at, inside = _where(query, offset, queries, keys, place, COLUMNS)
        entering = tl.load(given + at, mask=inside, other=0.0)
        found += product(entering.to(theirs.dtype), theirs, exact)
    keep(to_asks, found, query, asked, width, 1, WIDTH)


@triton.jit
@no_type_check
def gradients_of_relative(
    given,
    asks,
    to_relative,  # (c, bh, l, d), written: a part for each chunk of queries
    chunk,  # how many queries it has
    sizes,
    place,
    QUERIES: tl.constexpr,
    OFFSETS: tl.constexpr,
    WIDTH: tl.constexpr,
    COLUMNS: tl.constexpr,
):
    """What one chunk of the queries of one head gives to the gradients of a tile of encodings."""
    queries, keys, offsets, width, _ = sizes
    exact = given.dtype.element_ty
    tiles = tl.cdiv(offsets, OFFSETS)
    head, heads = tl.program_id(0).to(tl.int64), tl.num_programs(0)
    number, tile = tl.program_id(1) // tiles, tl.program_id(1) % tiles
    given = begin(given, head, queries, keys, 1)
    asks = begin(asks, head, queries, width, 1)
    to_relative = begin(to_relative, number * heads + head, offsets, width, 1)
    offset = tile * OFFSETS + tl.arange(0, OFFSETS)
    found = tl.zeros((OFFSETS, WIDTH), exact)
    for first in range(number * chunk, tl.minimum((number + 1) * chunk, queries), QUERIES):
        query = first + tl.arange(0, QUERIES)
        ours = vectors(asks, query, query < queries, width, 1, WIDTH)
        at, inside = _where(query, offset, queries, keys, place, COLUMNS)
        entering = tl.load(given + at, mask=inside, other=0.0)
        found += product(tl.trans(entering.to(ours.dtype)), ours, exact)
    keep(to_relative, found, offset, offset < offsets, width, 1, WIDTH)


@triton.jit
@no_type_check
def _where(query, offset, queries, keys, place, COLUMNS: tl.constexpr):
    """Where the table has these queries and offsets, (QUERIES, OFFSETS), and whether it has."""
    across, last, stride, _ = place
    if COLUMNS:
        coordinate = query % across
    else:
        coordinate = query // across
    reach = offset[None, :] - last + coordinate[:, None]
    key = reach // stride
    inside = (query < queries)[:, None] & (reach >= 0) & (key * stride == reach) & (key < keys)
    if COLUMNS:
        at = query[:, None] * keys + key
    else:
        at = key * queries + query[:, None]
    return at, inside
