"""Position tables of a map, in Triton: what one program of a GPU does.

The logit of a query at c and a key at k on an axis is asks . relative[k * stride - c + last], where
`last` is the last coordinate of a query, and LOWEST, which stands for no weight, at offsets beyond
`reach`. What a query asks is its content with QUERY_POSITION, and a bias with POSITION. A tile of
queries meets all offsets, and each product is written where its key is: nothing is made by offset
first and laid out by key then. On the way, what is asked of the content of keys is written too,
which is the same query with another bias.

With LINES, tables are for the places along an axis, not for the queries of a map, and that of rows
lies as that of columns does. Kernels are not compiled anew for maps whose sizes are 1 or multiples
of 16, as Triton would: numbers are read and written one by one, whatever these sizes are.

Shapes: bh batch and heads together, t those that have tables of their own, h heads; q queries, y x
rows and columns of keys, l offsets that occur along an axis, d width of queries and encodings, c
parts.

Source: Zhu et al. 2019, https://arxiv.org/abs/1904.05873, equation 2, for the logits; laying them
out so is our own.
"""

from typing import no_type_check

import triton
import triton.language as tl

from quatrain.ops.attend.tile_vectors import (
    begin,
    keep,
    of_program,
    product,
    sum_of_biased,
    vectors,
)

_NUMBERS = ["many", "above", "along", "rows", "columns", "reach"]


@triton.jit(do_not_specialize=_NUMBERS)
@no_type_check
def tabulate(
    factors,  # queries (bh, q, d), biases for content and positions (h, d), two encodings (h, l, d)
    asks,  # (bh, q, d), written with QUERY_KEY
    tables,  # of rows (t, y, q), with LINES (t, q, y), and of columns (t, q, x), written
    sizes,  # of d and h
    many,  # t
    above,  # rows and columns of queries
    along,
    rows,  # rows and columns of keys
    columns,
    stride,  # of keys
    reach,
    QUERIES: tl.constexpr,
    OFFSETS: tl.constexpr,
    WIDTH: tl.constexpr,
    SCALE: tl.constexpr,
    QUERY_KEY: tl.constexpr,
    QUERY_POSITION: tl.constexpr,
    KEY: tl.constexpr,
    POSITION: tl.constexpr,
    LINES: tl.constexpr,
    LOWEST: tl.constexpr,
):
    """One tile of queries of one head: the table of rows, or that of columns."""
    query, key_bias, position_bias, of_rows, of_columns = factors
    to_rows, to_columns = tables
    width, heads = sizes
    by_row, by_column = _axes(above, along, rows, columns, stride, reach, LINES)
    exact = to_columns.dtype.element_ty
    head, number, asked = of_program(tl.maximum(by_row[0], by_column[0]), QUERIES)
    query = begin(query, head, above * along, width, 1)
    at = (number, asked, head % heads)
    if QUERY_KEY and tl.program_id(1) == 0:
        made = sum_of_biased(query, key_bias, at, width, exact, WIDTH, SCALE, True, KEY)
        keep(begin(asks, head, above * along, width, 1), made, number, asked, width, 1, WIDTH)
    if head < many:
        ours = sum_of_biased(
            query, position_bias, at, width, exact, WIDTH, SCALE, QUERY_POSITION, POSITION
        ).to(of_rows.dtype.element_ty)
        if tl.program_id(1) == 0:
            _tabulate(ours, of_rows, to_rows, head, number, sizes, by_row, OFFSETS, LINES, LOWEST)
        else:
            _tabulate(
                ours, of_columns, to_columns, head, number, sizes, by_column, OFFSETS, True, LOWEST
            )


@triton.jit(do_not_specialize=_NUMBERS)
@no_type_check
def gradients_of_asks(
    given,  # as tables: their gradients
    factors,
    to_asks,  # as `asks`: their gradients
    written,  # gradients of queries, and parts of those of both biases (c, bh, d), for tiles
    sizes,
    many,
    above,
    along,
    rows,
    columns,
    stride,
    reach,
    QUERIES: tl.constexpr,
    OFFSETS: tl.constexpr,
    WIDTH: tl.constexpr,
    SCALE: tl.constexpr,
    QUERY_KEY: tl.constexpr,
    QUERY_POSITION: tl.constexpr,
    KEY: tl.constexpr,
    POSITION: tl.constexpr,
    LINES: tl.constexpr,
):
    """Gradients of one tile of queries of one head, and what it gives to those of biases."""
    from_rows, from_columns = given
    _, _, _, of_rows, of_columns = factors
    to_query, to_key_bias, to_position_bias = written
    width, _ = sizes
    by_row, by_column = _axes(above, along, rows, columns, stride, reach, LINES)
    most = tl.maximum(by_row[0], by_column[0])
    head, number, asked = of_program(most, QUERIES)
    tiles = tl.cdiv(most, QUERIES)
    part = tl.program_id(0) % tiles * (tl.num_programs(0) // tiles) + head
    there = head < many
    by_place = _given_back(
        from_rows, of_rows, head, there, number, sizes, by_row, OFFSETS, WIDTH, LINES
    )
    by_place += _given_back(
        from_columns, of_columns, head, there, number, sizes, by_column, OFFSETS, WIDTH, True
    )
    total = tl.zeros_like(by_place)
    if POSITION:
        _give_to_bias(to_position_bias, by_place, part, width, WIDTH, SCALE)
    if QUERY_POSITION:
        total += by_place
    if QUERY_KEY:
        to_asks = begin(to_asks, head, above * along, width, 1)
        by_content = vectors(to_asks, number, asked, width, 1, WIDTH).to(total.dtype)
        if KEY:
            _give_to_bias(to_key_bias, by_content, part, width, WIDTH, SCALE)
        total += by_content
    if QUERY_KEY or QUERY_POSITION:
        to_query = begin(to_query, head, above * along, width, 1)
        keep(to_query, total * SCALE, number, asked, width, 1, WIDTH)


@triton.jit(do_not_specialize=_NUMBERS)
@no_type_check
def gradients_of_relative(
    given,
    factors,
    written,  # parts of the gradients of both encodings (c, t, l, d), for chunks of queries
    chunk,  # how many queries it has
    sizes,
    many,
    above,
    along,
    rows,
    columns,
    stride,
    reach,
    QUERIES: tl.constexpr,
    OFFSETS: tl.constexpr,
    WIDTH: tl.constexpr,
    SCALE: tl.constexpr,
    QUERY_POSITION: tl.constexpr,
    POSITION: tl.constexpr,
    LINES: tl.constexpr,
):
    """What one chunk of the queries of one head gives to gradients of a tile of encodings."""
    by_row, by_column = _axes(above, along, rows, columns, stride, reach, LINES)
    if tl.program_id(2) == 0:
        _give_to_relative(
            given[0], factors, written[0], chunk, sizes, many, by_row,
            QUERIES, OFFSETS, WIDTH, SCALE, QUERY_POSITION, POSITION, LINES,
        )  # fmt: skip
    else:
        _give_to_relative(
            given[1], factors, written[1], chunk, sizes, many, by_column,
            QUERIES, OFFSETS, WIDTH, SCALE, QUERY_POSITION, POSITION, True,
        )  # fmt: skip


@triton.jit
@no_type_check
def _axes(above, along, rows, columns, stride, reach, LINES: tl.constexpr):
    """Of rows and of columns: counts of queries, keys and offsets, and what `_where` is to know."""
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
def _tabulate(
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
        at, inside = _where(number, offset, axis, COLUMNS)
        tl.store(table + at, made, mask=inside)


@triton.jit
@no_type_check
def _given_back(
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
        at, inside = _where(number, offset, axis, COLUMNS)
        entering = tl.load(given + at, mask=inside, other=0.0)
        found += product(entering.to(theirs.dtype), theirs, exact)
    return found


@triton.jit
@no_type_check
def _give_to_bias(x, found, part, width, WIDTH: tl.constexpr, SCALE: tl.constexpr):
    """Write a part of the gradient of a bias."""
    channel = tl.arange(0, WIDTH)
    tl.store(x + part * width + channel, tl.sum(found, 0) * SCALE, mask=channel < width)


@triton.jit
@no_type_check
def _give_to_relative(
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
        place, inside = _where(number, offset, axis, COLUMNS)
        entering = tl.load(given + place, mask=inside, other=0.0)
        found += product(tl.trans(entering.to(kind)), ours, exact)
    to_relative = begin(to_relative, part * many + head, offsets, width, 1)
    there = (offset < offsets) & (part * chunk < queries)  # the other axis may have more parts
    keep(to_relative, found, offset, there, width, 1, WIDTH)


@triton.jit
@no_type_check
def _where(number, offset, axis, COLUMNS: tl.constexpr):
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
