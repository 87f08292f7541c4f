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

from quatrain.ops.attention.triton.position_bias_parts import (
    axes_of,
    give_to_bias,
    give_to_relative,
    given_back_along,
    tabulate_along,
)
from quatrain.ops.attention.triton.primitives import begin, keep, of_program, sum_of_biased, vectors

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
    by_row, by_column = axes_of(above, along, rows, columns, stride, reach, LINES)
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
            tabulate_along(
                ours, of_rows, to_rows, head, number, sizes, by_row, OFFSETS, LINES, LOWEST
            )
        else:
            tabulate_along(
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
    by_row, by_column = axes_of(above, along, rows, columns, stride, reach, LINES)
    most = tl.maximum(by_row[0], by_column[0])
    head, number, asked = of_program(most, QUERIES)
    tiles = tl.cdiv(most, QUERIES)
    part = tl.program_id(0) % tiles * (tl.num_programs(0) // tiles) + head
    there = head < many
    by_place = given_back_along(
        from_rows, of_rows, head, there, number, sizes, by_row, OFFSETS, WIDTH, LINES
    )
    by_place += given_back_along(
        from_columns, of_columns, head, there, number, sizes, by_column, OFFSETS, WIDTH, True
    )
    total = tl.zeros_like(by_place)
    if POSITION:
        give_to_bias(to_position_bias, by_place, part, width, WIDTH, SCALE)
    if QUERY_POSITION:
        total += by_place
    if QUERY_KEY:
        to_asks = begin(to_asks, head, above * along, width, 1)
        by_content = vectors(to_asks, number, asked, width, 1, WIDTH).to(total.dtype)
        if KEY:
            give_to_bias(to_key_bias, by_content, part, width, WIDTH, SCALE)
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
    by_row, by_column = axes_of(above, along, rows, columns, stride, reach, LINES)
    if tl.program_id(2) == 0:
        give_to_relative(
            given[0], factors, written[0], chunk, sizes, many, by_row,
            QUERIES, OFFSETS, WIDTH, SCALE, QUERY_POSITION, POSITION, LINES,
        )  # fmt: skip
    else:
        give_to_relative(
            given[1], factors, written[1], chunk, sizes, many, by_column,
            QUERIES, OFFSETS, WIDTH, SCALE, QUERY_POSITION, POSITION, True,
        )  # fmt: skip
