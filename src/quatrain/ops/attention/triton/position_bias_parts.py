"""What the kernels of position tables do along one axis, in Triton.

`table_kernels` says what a table is and names the shapes. With COLUMNS, a table lies as that of
columns does.

Source: Zhu et al. 2019, https://arxiv.org/abs/1904.05873, equation 2.
"""

from typing import no_type_check

import triton
import triton.language as tl

from quatrain.ops.attention.triton.primitives import begin, keep, product, sum_of_biased, vectors


@triton.jit
@no_type_check
def axes_of(above, along, rows, columns, stride, reach, LINES: tl.constexpr):
    """Of rows and of columns: counts of queries, keys and offsets, and what `places_of` wants."""
    of_rows, of_columns, across = above * along, above * along, along
    if LINES:
        of_rows, of_columns, across = above, along, above
    by_row = (of_rows, rows, (rows - 1) * stride + above, across, above - 1, stride, reach)
    by_column = (
        of_columns, columns, (columns - 1) * stride + along, along, along - 1, stride, reach,
    )  # fmt: skip
    return by_row, by_column


@triton.jit
@no_type_check
def tabulate_along(
    ours,
    relative,
    table,
    head,
    number,
    sizes,
    axis,
    OFFSETS: tl.constexpr,
    COLUMNS: tl.constexpr,
    LOWEST: tl.constexpr,
):
    """Along one axis, for a tile of what is asked."""
    width, heads = sizes
    queries, keys, offsets, _, last, _, reach = axis
    relative = begin(relative, head % heads, offsets, width, 1)
    table = begin(table, head, queries, keys, 1)
    for first in range(0, offsets, OFFSETS):
        offset = first + tl.arange(0, OFFSETS)
        theirs = vectors(relative, offset, offset < offsets, width, 1, ours.shape[1])
        made = product(ours, tl.trans(theirs), table.dtype.element_ty)
        made = tl.where((tl.abs(offset - last) > reach)[None, :], LOWEST, made)
        at, inside = places_of(number, offset, axis, COLUMNS)
        tl.store(table + at, made, mask=inside)


@triton.jit
@no_type_check
def given_back_along(
    given,
    relative,
    head,
    there,
    number,
    sizes,
    axis,
    OFFSETS: tl.constexpr,
    WIDTH: tl.constexpr,
    COLUMNS: tl.constexpr,
):
    """Gradients of what a tile of queries asks of one axis; zeros where the head has no table."""
    width, heads = sizes
    queries, keys, offsets, _, _, _, _ = axis
    exact = given.dtype.element_ty
    given = begin(given, head, queries, keys, 1)
    relative = begin(relative, head % heads, offsets, width, 1)
    found = tl.zeros((number.shape[0], WIDTH), exact)
    for first in range(0, tl.where(there, offsets, 0), OFFSETS):
        offset = first + tl.arange(0, OFFSETS)
        theirs = vectors(relative, offset, offset < offsets, width, 1, WIDTH)
        at, inside = places_of(number, offset, axis, COLUMNS)
        entering = tl.load(given + at, mask=inside, other=0.0)
        found += product(entering.to(theirs.dtype), theirs, exact)
    return found


@triton.jit
@no_type_check
def give_to_bias(x, found, part, width, WIDTH: tl.constexpr, SCALE: tl.constexpr):
    """Write a part of the gradient of a bias."""
    channel = tl.arange(0, WIDTH)
    tl.store(x + part * width + channel, tl.sum(found, 0) * SCALE, mask=channel < width)


@triton.jit
@no_type_check
def give_to_relative(
    given,
    factors,
    to_relative,
    chunk,
    sizes,
    many,
    axis,
    QUERIES: tl.constexpr,
    OFFSETS: tl.constexpr,
    WIDTH: tl.constexpr,
    SCALE: tl.constexpr,
    QUERY_POSITION: tl.constexpr,
    POSITION: tl.constexpr,
    COLUMNS: tl.constexpr,
):
    """Along one axis."""
    query, _, position_bias, relative, _ = factors
    width, heads = sizes
    queries, keys, offsets, _, _, _, _ = axis
    exact = given.dtype.element_ty
    kind = relative.dtype.element_ty
    tiles = tl.cdiv(offsets, OFFSETS)
    head = tl.program_id(0).to(tl.int64)
    part, tile = tl.program_id(1) // tiles, tl.program_id(1) % tiles
    given = begin(given, head, queries, keys, 1)
    query = begin(query, head, queries, width, 1)
    offset = tile * OFFSETS + tl.arange(0, OFFSETS)
    found = tl.zeros((OFFSETS, WIDTH), exact)
    for first in range(part * chunk, tl.minimum((part + 1) * chunk, queries), QUERIES):
        number = first + tl.arange(0, QUERIES)
        at = (number, number < queries, head % heads)
        ours = sum_of_biased(
            query, position_bias, at, width, exact, WIDTH, SCALE, QUERY_POSITION, POSITION
        ).to(kind)
        place, inside = places_of(number, offset, axis, COLUMNS)
        entering = tl.load(given + place, mask=inside, other=0.0)
        found += product(tl.trans(entering.to(kind)), ours, exact)
    to_relative = begin(to_relative, part * many + head, offsets, width, 1)
    there = (offset < offsets) & (part * chunk < queries)  # the other axis may have more parts
    keep(to_relative, found, offset, there, width, 1, WIDTH)


@triton.jit
@no_type_check
def places_of(number, offset, axis, COLUMNS: tl.constexpr):
    """Where the table has these queries and offsets, (QUERIES, OFFSETS), and whether it has.

    There are `across` queries in a row, and the coordinate of none is beyond `last`.
    """
    queries, keys, _, across, last, stride, _ = axis
    if COLUMNS:
        coordinate = number % across
    else:
        coordinate = number // across
    reach = offset[None, :] - last + coordinate[:, None]
    key = reach // stride
    inside = (number < queries)[:, None] & (reach >= 0) & (key * stride == reach) & (key < keys)
    if COLUMNS:
        at = number[:, None] * keys + key
    else:
        at = key * queries + number[:, None]
    return at, inside
