"""Triton kernels of row and column bias, and of their gradients.

The logit of a query at c and a key at k on an axis is query . relative[k * stride - c + last],
where `last` is the last coordinate of a query, and MASK_VALUE at distances beyond `reach`. The
query is its content with QUERY_POSITION, plus the position vector with POSITION. A tile of queries
is multiplied with the encodings of all relative positions, and each product is written where its
key is. The biased query of key content, with the content vector, is written along with them.

With AXIAL, biases are per coordinate along an axis, not per query of a map, and the row bias has
the layout of the column bias. Kernels are not recompiled for maps whose sizes are 1 or multiples of
16, as Triton would: numbers are read and written one by one, whatever these sizes are.

Shapes: bh batch and heads together, t those with biases of their own, h heads; q queries, y x
rows and columns of keys, l relative positions along an axis, d width of queries and encodings, c
parts. An `axis` is a tuple: counts of queries, keys and relative positions, then queries per row,
last coordinate of a query, stride of keys, reach. `sizes` are those of d and h.

Source: Zhu et al. 2019, https://arxiv.org/abs/1904.05873, equation 2, for the logits; this layout
is our own.
"""

from typing import no_type_check

import triton
import triton.language as tl

from quatrain.ops.attention.triton.primitives import (
    biased_queries,
    dot,
    load_vectors,
    program_tile,
    start_of,
    store_vectors,
)

_SIZES = ["many", "height", "width", "rows", "columns", "reach"]


@triton.jit(do_not_specialize=_SIZES)
@no_type_check
def position_bias_kernel(
    operands,  # queries (bh, q, d), content and position vector (h, d), two encodings (h, l, d)
    biased_query,  # (bh, q, d), written with QUERY_KEY
    biases,  # of rows (t, y, q), with AXIAL (t, q, y), and of columns (t, q, x), written
    sizes,
    many,  # t
    height,  # rows and columns of queries
    width,
    rows,  # rows and columns of keys
    columns,
    stride,  # of keys
    reach,
    QUERIES: tl.constexpr,
    RELATIVE: tl.constexpr,
    WIDTH: tl.constexpr,
    SCALE: tl.constexpr,
    QUERY_KEY: tl.constexpr,
    QUERY_POSITION: tl.constexpr,
    KEY: tl.constexpr,
    POSITION: tl.constexpr,
    AXIAL: tl.constexpr,
    MASK_VALUE: tl.constexpr,
):
    """One tile of queries of one head: its row bias, or its column bias."""
    query, content_vector, position_vector, row_encoding, column_encoding = operands
    row_bias, column_bias = biases
    head_width, heads = sizes
    row_axis, column_axis = make_axes(height, width, rows, columns, stride, reach, AXIAL)
    exact = column_bias.dtype.element_ty
    head, index, valid = program_tile(tl.maximum(row_axis[0], column_axis[0]), QUERIES)
    query = start_of(query, head, height * width, head_width, 1)
    at = (index, valid, head % heads)
    if QUERY_KEY and tl.program_id(1) == 0:
        biased = biased_queries(
            query, content_vector, at, head_width, exact, WIDTH, SCALE, True, KEY
        )
        biased_query = start_of(biased_query, head, height * width, head_width, 1)
        store_vectors(biased_query, biased, index, valid, head_width, 1, WIDTH)
    if head < many:
        biased = biased_queries(
            query, position_vector, at, head_width, exact, WIDTH, SCALE, QUERY_POSITION, POSITION
        ).to(row_encoding.dtype.element_ty)
        if tl.program_id(1) == 0:
            write_axis_bias(
                biased, row_encoding, row_bias, head, index, sizes, row_axis,
                RELATIVE, AXIAL, MASK_VALUE,
            )  # fmt: skip
        else:
            write_axis_bias(
                biased, column_encoding, column_bias, head, index, sizes, column_axis,
                RELATIVE, True, MASK_VALUE,
            )  # fmt: skip


@triton.jit(do_not_specialize=_SIZES)
@no_type_check
def position_query_grads_kernel(
    grad_biases,  # as biases
    operands,
    grad_biased_query,  # as biased_query
    outputs,  # gradients of queries, and parts of those of both vectors (c, bh, d), one per tile
    sizes,
    many,
    height,
    width,
    rows,
    columns,
    stride,
    reach,
    QUERIES: tl.constexpr,
    RELATIVE: tl.constexpr,
    WIDTH: tl.constexpr,
    SCALE: tl.constexpr,
    QUERY_KEY: tl.constexpr,
    QUERY_POSITION: tl.constexpr,
    KEY: tl.constexpr,
    POSITION: tl.constexpr,
    AXIAL: tl.constexpr,
):
    """Gradients of one tile of queries of one head, and its part of those of both vectors."""
    grad_row_bias, grad_column_bias = grad_biases
    _, _, _, row_encoding, column_encoding = operands
    grad_query, grad_content_vector, grad_position_vector = outputs
    head_width, _ = sizes
    row_axis, column_axis = make_axes(height, width, rows, columns, stride, reach, AXIAL)
    most = tl.maximum(row_axis[0], column_axis[0])
    head, index, valid = program_tile(most, QUERIES)
    tiles = tl.cdiv(most, QUERIES)
    part = tl.program_id(0) % tiles * (tl.num_programs(0) // tiles) + head
    has_bias = head < many
    grad_position_query = axis_query_grads(
        grad_row_bias, row_encoding, head, has_bias, index, sizes, row_axis, RELATIVE, WIDTH, AXIAL
    )
    grad_position_query += axis_query_grads(
        grad_column_bias, column_encoding, head, has_bias, index, sizes, column_axis,
        RELATIVE, WIDTH, True,
    )  # fmt: skip
    total = tl.zeros_like(grad_position_query)
    if POSITION:
        store_vector_grad(grad_position_vector, grad_position_query, part, head_width, WIDTH, SCALE)
    if QUERY_POSITION:
        total += grad_position_query
    if QUERY_KEY:
        start = start_of(grad_biased_query, head, height * width, head_width, 1)
        grad_content = load_vectors(start, index, valid, head_width, 1, WIDTH).to(total.dtype)
        if KEY:
            store_vector_grad(grad_content_vector, grad_content, part, head_width, WIDTH, SCALE)
        total += grad_content
    if QUERY_KEY or QUERY_POSITION:
        grad_query = start_of(grad_query, head, height * width, head_width, 1)
        store_vectors(grad_query, total * SCALE, index, valid, head_width, 1, WIDTH)


@triton.jit(do_not_specialize=_SIZES)
@no_type_check
def encoding_grads_kernel(
    grad_biases,
    operands,
    outputs,  # parts of the gradients of both encodings (c, t, l, d), one per chunk of queries
    chunk,  # queries of a chunk
    sizes,
    many,
    height,
    width,
    rows,
    columns,
    stride,
    reach,
    QUERIES: tl.constexpr,
    RELATIVE: tl.constexpr,
    WIDTH: tl.constexpr,
    SCALE: tl.constexpr,
    QUERY_POSITION: tl.constexpr,
    POSITION: tl.constexpr,
    AXIAL: tl.constexpr,
):
    """The part of one chunk of queries of one head in the gradients of a tile of encodings."""
    query, _, position_vector, row_encoding, _ = operands
    row_axis, column_axis = make_axes(height, width, rows, columns, stride, reach, AXIAL)
    if tl.program_id(2) == 0:
        write_axis_encoding_grads(
            grad_biases[0], (query, position_vector, row_encoding), outputs[0], chunk, sizes, many,
            row_axis, QUERIES, RELATIVE, WIDTH, SCALE, QUERY_POSITION, POSITION, AXIAL,
        )  # fmt: skip
    else:
        write_axis_encoding_grads(
            grad_biases[1], (query, position_vector, row_encoding), outputs[1], chunk, sizes, many,
            column_axis, QUERIES, RELATIVE, WIDTH, SCALE, QUERY_POSITION, POSITION, True,
        )  # fmt: skip


@triton.jit
@no_type_check
def make_axes(height, width, rows, columns, stride, reach, AXIAL: tl.constexpr):
    """The axis of rows and that of columns."""
    row_queries, column_queries, across = height * width, height * width, width
    if AXIAL:
        row_queries, column_queries, across = height, width, height
    row_count, column_count = (rows - 1) * stride + height, (columns - 1) * stride + width
    row_axis = (row_queries, rows, row_count, across, height - 1, stride, reach)
    column_axis = (column_queries, columns, column_count, width, width - 1, stride, reach)
    return row_axis, column_axis


@triton.jit
@no_type_check
def write_axis_bias(
    query,
    encoding,
    bias,
    head,
    index,
    sizes,
    axis,
    RELATIVE: tl.constexpr,
    KEYS_LAST: tl.constexpr,
    MASK_VALUE: tl.constexpr,
):
    """The position bias of a tile of queries along one axis."""
    width, heads = sizes
    queries, keys, count, _, last, _, reach = axis
    encoding = start_of(encoding, head % heads, count, width, 1)
    bias = start_of(bias, head, queries, keys, 1)
    for first in range(0, count, RELATIVE):
        relative = first + tl.arange(0, RELATIVE)
        encodings = load_vectors(encoding, relative, relative < count, width, 1, query.shape[1])
        logits = dot(query, tl.trans(encodings), bias.dtype.element_ty)
        logits = tl.where((tl.abs(relative - last) > reach)[None, :], MASK_VALUE, logits)
        at, valid = bias_indices(index, relative, axis, KEYS_LAST)
        tl.store(bias + at, logits, mask=valid)


@triton.jit
@no_type_check
def axis_query_grads(
    grad_bias,
    encoding,
    head,
    has_bias,
    index,
    sizes,
    axis,
    RELATIVE: tl.constexpr,
    WIDTH: tl.constexpr,
    KEYS_LAST: tl.constexpr,
):
    """Gradients of position queries along one axis; zeros where the head has no bias."""
    width, heads = sizes
    queries, keys, count, _, _, _, _ = axis
    exact = grad_bias.dtype.element_ty
    grad_bias = start_of(grad_bias, head, queries, keys, 1)
    encoding = start_of(encoding, head % heads, count, width, 1)
    total = tl.zeros((index.shape[0], WIDTH), exact)
    for first in range(0, tl.where(has_bias, count, 0), RELATIVE):
        relative = first + tl.arange(0, RELATIVE)
        encodings = load_vectors(encoding, relative, relative < count, width, 1, WIDTH)
        at, valid = bias_indices(index, relative, axis, KEYS_LAST)
        grad_logits = tl.load(grad_bias + at, mask=valid, other=0.0)
        total += dot(grad_logits.to(encodings.dtype), encodings, exact)
    return total


@triton.jit
@no_type_check
def store_vector_grad(x, grad_query, part, width, WIDTH: tl.constexpr, SCALE: tl.constexpr):
    """Write a part of the gradient of a vector: the sum over a tile of queries."""
    channel = tl.arange(0, WIDTH)
    tl.store(x + part * width + channel, tl.sum(grad_query, 0) * SCALE, mask=channel < width)


@triton.jit
@no_type_check
def write_axis_encoding_grads(
    grad_bias,
    operands,  # queries, position vector, any encoding
    grad_encoding,
    chunk,
    sizes,
    many,
    axis,
    QUERIES: tl.constexpr,
    RELATIVE: tl.constexpr,
    WIDTH: tl.constexpr,
    SCALE: tl.constexpr,
    QUERY_POSITION: tl.constexpr,
    POSITION: tl.constexpr,
    KEYS_LAST: tl.constexpr,
):
    """The part of a chunk of queries in the gradients of a tile of encodings along one axis."""
    query, position_vector, encoding = operands
    width, heads = sizes
    queries, keys, count, _, _, _, _ = axis
    exact = grad_bias.dtype.element_ty
    dtype = encoding.dtype.element_ty
    tiles = tl.cdiv(count, RELATIVE)
    head = tl.program_id(0).to(tl.int64)
    part, tile = tl.program_id(1) // tiles, tl.program_id(1) % tiles
    grad_bias = start_of(grad_bias, head, queries, keys, 1)
    query = start_of(query, head, queries, width, 1)
    relative = tile * RELATIVE + tl.arange(0, RELATIVE)
    total = tl.zeros((RELATIVE, WIDTH), exact)
    for first in range(part * chunk, tl.minimum((part + 1) * chunk, queries), QUERIES):
        index = first + tl.arange(0, QUERIES)
        at = (index, index < queries, head % heads)
        biased = biased_queries(
            query, position_vector, at, width, exact, WIDTH, SCALE, QUERY_POSITION, POSITION
        ).to(dtype)
        place, valid = bias_indices(index, relative, axis, KEYS_LAST)
        grad_logits = tl.load(grad_bias + place, mask=valid, other=0.0)
        total += dot(tl.trans(grad_logits.to(dtype)), biased, exact)
    grad_encoding = start_of(grad_encoding, part * many + head, count, width, 1)
    valid = (relative < count) & (part * chunk < queries)  # the other axis may have more parts
    store_vectors(grad_encoding, total, relative, valid, width, 1, WIDTH)


@triton.jit
@no_type_check
def bias_indices(index, relative, axis, KEYS_LAST: tl.constexpr):
    """Where a bias has these queries and encodings, (QUERIES, RELATIVE), and whether it has them.

    With KEYS_LAST a bias is (queries, keys), as that of columns; else (keys, queries).
    """
    queries, keys, _, across, last, stride, _ = axis
    if KEYS_LAST:
        coordinate = index % across
    else:
        coordinate = index // across
    position = relative[None, :] - last + coordinate[:, None]
    key = position // stride
    on_key = (position >= 0) & (key * stride == position) & (key < keys)
    valid = (index < queries)[:, None] & on_key
    if KEYS_LAST:
        at = index[:, None] * keys + key
    else:
        at = key * queries + index[:, None]
    return at, valid
