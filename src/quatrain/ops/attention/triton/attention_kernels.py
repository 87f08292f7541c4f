"""Triton kernels of attention on a map with row and column bias.

A tile of queries is multiplied with the keys of one row of the map at a time. The column bias is
then the same for every row of keys, and the row bias is one number per query:

    logits = query . key  +  column_bias[q, kx]  +  row_bias[q, ky]  +  key_logits[k]
                             kept for all rows      one number          same for all queries

so that positions cost one addition per pair: the row bias is added to the maximum instead. The
gradients of keys are summed over all tiles of queries, atomically, in an order that differs from
call to call. Where gradients must be deterministic, a kernel with one program per
tile of keys computes them, with the means that the kernel of query gradients stored.

Tensors are contiguous. Without HAS_CONTENT there are no `query` and no `key`, without HAS_ROW_BIAS
no `row_bias`; their pointers are then never read. KEY_LOGITS is how many numbers add up to one of
`key_logits`: 0 without any, and 16 with operands of 16 bits (`primitives.split`). HAS_MASK means
that logits may be masked: there are key logits, or a band limits the rows that queries reach.
Logits, sums and gradients of biases are float32, or float64 for float64.

Shapes: n attentions, each of one batch element and head; q queries, k keys (row by row), d width of
queries and keys, e width of values, y rows and x columns of keys, t biases: `row_bias` (t, y, q)
and `column_bias` (t, q, x) are those of each batch element and head, or of each head for all
elements. Where a batch element and head has several attentions, first `outer` of them lie one after
the other, and then `inner` of them are interleaved (`primitives`); they share biases. `sizes` are
those of q, y, x, d, e and t, then outer, inner, and of the band: queries per row, stride of keys,
reach.

Source: Dao 2023, https://arxiv.org/abs/2307.08691, section 3.1, for tiles and recomputation in the
backward pass; Zhu et al. 2019, https://arxiv.org/abs/1904.05873, equation 2, for the logits.
Biases that stay while rows pass are our own.
"""

from typing import no_type_check

import triton
import triton.language as tl

from quatrain.ops.attention.triton.position_bias import MASK_THRESHOLD
from quatrain.ops.attention.triton.primitives import (
    accumulate,
    atomic_add_vectors,
    dot,
    exp_difference,
    load_vectors,
    load_vectors_if,
    program_tile,
    start_of,
    store_tile,
    store_vectors,
)

_MASK_THRESHOLD = tl.constexpr(MASK_THRESHOLD)


@triton.jit
@no_type_check
def attention_forward_kernel(
    inputs,  # query, key, key_logits, row_bias, column_bias, value
    output,  # (n, q, e), written
    lse,  # (n, q), written: the logsumexp of the logits
    zero,  # the number 0, which the compiler must not know
    sizes,
    QUERIES: tl.constexpr,
    KEYS: tl.constexpr,
    WIDTH: tl.constexpr,
    VALUE_WIDTH: tl.constexpr,
    HAS_CONTENT: tl.constexpr,
    KEY_LOGITS: tl.constexpr,
    HAS_ROW_BIAS: tl.constexpr,
    HAS_MASK: tl.constexpr,
):
    """Outputs of one tile of queries, of one attention."""
    queries, rows, columns, width, value_width, _, _, inner, _, _, _ = sizes
    exact = lse.dtype.element_ty
    head, index, valid = program_tile(queries, QUERIES)
    query, key, key_logits, row_bias, column_bias, value = start_inputs(
        inputs, sizes, head, KEY_LOGITS
    )
    lse = start_of(lse, head, queries, 1, inner)
    output = start_of(output, head, queries, value_width, inner)
    tile_query = load_vectors_if(query, index, valid, width, inner, WIDTH, HAS_CONTENT)
    start, stop = reached_rows(sizes, tl.min(index), tl.max(index), HAS_MASK)
    running_max = initial_max(QUERIES, exact, HAS_MASK)
    running_sum = tl.zeros((QUERIES,), exact)
    sums = tl.zeros((QUERIES, VALUE_WIDTH), exact)
    for left in range(0, columns, KEYS):
        column = left + tl.arange(0, KEYS)
        in_row = column < columns
        by_column = load_column_bias(column_bias, index, valid, column, columns, zero, value)
        next_row_bias = load_row_bias(
            row_bias, start, rows, queries, index, valid, exact, HAS_ROW_BIAS
        )
        for row in range(start, stop):
            key_index = row * columns + column
            by_row = next_row_bias
            next_row_bias = load_row_bias(
                row_bias, row + 1, rows, queries, index, valid, exact, HAS_ROW_BIAS
            )
            tile_key = load_vectors_if(key, key_index, in_row, width, inner, WIDTH, HAS_CONTENT)
            at = (key_index, in_row, inner)
            logits = pair_logits(
                by_column, tile_query, tile_key, key_logits, at, HAS_CONTENT, KEY_LOGITS
            )
            values = load_vectors(value, key_index, in_row, value_width, inner, VALUE_WIDTH)
            new_max = tl.maximum(running_max, tl.max(logits, 1) + by_row)
            weights = exp_difference(logits, (new_max - by_row)[:, None], HAS_MASK)
            rescale = exp_difference(running_max, new_max, HAS_MASK)
            running_sum = running_sum * rescale + tl.sum(weights, 1)
            sums = sums * rescale[:, None] + dot(weights.to(values.dtype), values, exact)
            running_max = new_max
    if HAS_MASK:
        running_sum = tl.where(running_sum == 0.0, 1.0, running_sum)  # all masked: the sum is zero
    means = sums / running_sum[:, None]
    store_vectors(output, means, index, valid, value_width, inner, VALUE_WIDTH)
    tl.store(lse + index * inner, running_max + tl.log(running_sum), mask=valid)


@triton.jit
@no_type_check
def query_grads_kernel(
    inputs,
    incoming,  # lse, output, grad_output (n, q, e), with HAS_LSE_GRAD grad_lse; means, written
    grads,  # of query (n, q, d), row_bias (n, y, q), column_bias (n, q, x); those of keys below
    zero,
    sizes,
    QUERIES: tl.constexpr,
    KEYS: tl.constexpr,
    WIDTH: tl.constexpr,
    VALUE_WIDTH: tl.constexpr,
    HAS_CONTENT: tl.constexpr,
    KEY_LOGITS: tl.constexpr,
    HAS_ROW_BIAS: tl.constexpr,
    HAS_MASK: tl.constexpr,
    HAS_LSE_GRAD: tl.constexpr,
    KEY_GRADS: tl.constexpr,
):
    """Gradients of one tile of queries and its biases, and with KEY_GRADS its part for keys."""
    queries, rows, columns, width, value_width, _, _, inner, _, _, _ = sizes
    head, index, valid = program_tile(queries, QUERIES)
    query, key, key_logits, row_bias, column_bias, value = start_inputs(
        inputs, sizes, head, KEY_LOGITS
    )
    grad_query, grad_row_bias, grad_column_bias, grad_keys = start_grads(grads, sizes, head)
    lse, grad_output, mean = load_incoming(
        incoming, sizes, head, index, VALUE_WIDTH, HAS_LSE_GRAD, not KEY_GRADS, HAS_MASK
    )
    exact = lse.dtype
    tile_query = load_vectors_if(query, index, valid, width, inner, WIDTH, HAS_CONTENT)
    grad_tile_query = tl.zeros((QUERIES, WIDTH), exact)
    start, stop = reached_rows(sizes, tl.min(index), tl.max(index), HAS_MASK)
    row = start + tl.program_id(0) % (stop - start)  # spreads the atomic additions over rows
    for left in range(0, columns, KEYS):
        column = left + tl.arange(0, KEYS)
        in_row = column < columns
        by_column = load_column_bias(column_bias, index, valid, column, columns, zero, value)
        grad_by_column = tl.zeros((QUERIES, KEYS), exact)
        next_row_bias = load_row_bias(
            row_bias, row, rows, queries, index, valid, exact, HAS_ROW_BIAS
        )
        for _ in range(start, stop):
            next_row = tl.where(row + 1 < stop, row + 1, start)
            key_index, by_row = row * columns + column, next_row_bias
            next_row_bias = load_row_bias(
                row_bias, next_row, rows, queries, index, valid, exact, HAS_ROW_BIAS
            )
            tile_key = load_vectors_if(key, key_index, in_row, width, inner, WIDTH, HAS_CONTENT)
            at = (key_index, in_row, inner)
            logits = pair_logits(
                by_column, tile_query, tile_key, key_logits, at, HAS_CONTENT, KEY_LOGITS
            )
            values = load_vectors(value, key_index, in_row, value_width, inner, VALUE_WIDTH)
            weights = exp_difference(logits, (lse - by_row)[:, None], HAS_MASK)
            grad_logits = weights * (dot(grad_output, tl.trans(values), exact) - mean[:, None])
            grad_by_column += grad_logits
            if HAS_ROW_BIAS:
                grad_by_row = tl.sum(grad_logits, 1)
                accumulate(grad_row_bias + row * queries + index, grad_by_row, valid, left > 0)
            if HAS_CONTENT:
                grad_tile_query += dot(grad_logits.to(tile_key.dtype), tile_key, exact)
            if KEY_GRADS:
                add_key_grads(
                    grad_keys, weights, grad_logits, grad_output, tile_query, at, sizes,
                    HAS_CONTENT, KEY_LOGITS,
                )  # fmt: skip
            row = next_row
        store_tile(grad_column_bias, grad_by_column, index, valid, column, columns)
        tl.debug_barrier()  # threads may read the row gradients that others of this program wrote
    if HAS_CONTENT:
        store_vectors(grad_query, grad_tile_query, index, valid, width, inner, WIDTH)


@triton.jit
@no_type_check
def key_grads_kernel(
    inputs,
    incoming,
    grads,  # the last three: of keys (n, k, d), key logits (n, k) and values (n, k, e)
    zero,
    sizes,
    QUERIES: tl.constexpr,
    KEYS: tl.constexpr,
    WIDTH: tl.constexpr,
    VALUE_WIDTH: tl.constexpr,
    HAS_CONTENT: tl.constexpr,
    KEY_LOGITS: tl.constexpr,
    HAS_ROW_BIAS: tl.constexpr,
    HAS_MASK: tl.constexpr,
):
    """Gradients of one tile of keys, a part of a row: of keys, key logits and values."""
    queries, rows, columns, width, value_width, _, _, inner, _, _, _ = sizes
    lse, _, grad_output, _, means = incoming
    exact = lse.dtype.element_ty
    tiles = rows * tl.cdiv(columns, KEYS)
    head, tile = (tl.program_id(0) // tiles).to(tl.int64), tl.program_id(0) % tiles
    query, key, key_logits, row_bias, column_bias, value = start_inputs(
        inputs, sizes, head, KEY_LOGITS
    )
    lse = start_of(lse, head, queries, 1, inner)
    means = start_of(means, head, queries, 1, inner)
    grad_output = start_of(grad_output, head, queries, value_width, inner)
    _, _, _, grad_keys = start_grads(grads, sizes, head)
    grad_key, grad_key_logits, grad_value = grad_keys
    row, column = tile % rows, tile // rows * KEYS + tl.arange(0, KEYS)
    in_row, key_index = column < columns, row * columns + column
    at = (key_index, in_row, inner)
    values = load_vectors(value, key_index, in_row, value_width, inner, VALUE_WIDTH)
    grad_values = tl.zeros((KEYS, VALUE_WIDTH), exact)
    grad_logit_sums = tl.zeros((KEYS, max(KEY_LOGITS, 1)), exact)
    tile_key = load_vectors_if(key, key_index, in_row, width, inner, WIDTH, HAS_CONTENT)
    grad_tile_key = tl.zeros((KEYS, WIDTH), exact)
    start, stop = reaching_queries(sizes, row, HAS_MASK)
    for first in range(start, stop, QUERIES):
        index = first + tl.arange(0, QUERIES)
        valid = index < queries
        by_column = load_column_bias(column_bias, index, valid, column, columns, zero, value)
        by_row = load_row_bias(row_bias, row, rows, queries, index, valid, exact, HAS_ROW_BIAS)
        tile_query = load_vectors_if(query, index, valid, width, inner, WIDTH, HAS_CONTENT)
        logits = pair_logits(
            by_column, tile_query, tile_key, key_logits, at, HAS_CONTENT, KEY_LOGITS
        )
        tile_grad = load_vectors(grad_output, index, valid, value_width, inner, VALUE_WIDTH)
        tile_lse = load_lse(lse, index, valid, inner, HAS_MASK)
        mean = tl.load(means + index * inner, mask=valid, other=0.0)
        tile_grad, mean = zero_if_all_masked(tile_grad, mean, tile_lse, HAS_MASK)
        weights = exp_difference(logits, (tile_lse - by_row)[:, None], HAS_MASK)
        grad_values += dot(tl.trans(weights.to(tile_grad.dtype)), tile_grad, exact)
        grad_logits = weights * (dot(tile_grad, tl.trans(values), exact) - mean[:, None])
        if KEY_LOGITS:
            grad_logit_sums += sum_over_queries(grad_logits, tile_grad.dtype, KEY_LOGITS)
        if HAS_CONTENT:
            grad_tile_key += dot(tl.trans(grad_logits.to(tile_query.dtype)), tile_query, exact)
    store_vectors(grad_value, grad_values, key_index, in_row, value_width, inner, VALUE_WIDTH)
    if KEY_LOGITS:
        store_vectors(grad_key_logits, grad_logit_sums, key_index, in_row, 1, inner, KEY_LOGITS)
    if HAS_CONTENT:
        store_vectors(grad_key, grad_tile_key, key_index, in_row, width, inner, WIDTH)


@triton.jit
@no_type_check
def start_inputs(inputs, sizes, head, KEY_LOGITS: tl.constexpr):
    """Pointers to the inputs of one attention."""
    query, key, key_logits, row_bias, column_bias, value = inputs
    queries, rows, columns, width, value_width, biases, outer, inner, _, _, _ = sizes
    keys, bias = rows * columns, head // (outer * inner) % biases
    return (
        start_of(query, head, queries, width, inner),
        start_of(key, head, keys, width, inner),
        start_of(key_logits, head, keys, KEY_LOGITS, inner),
        start_of(row_bias, bias, rows, queries, 1),
        start_of(column_bias, bias, queries, columns, 1),
        start_of(value, head, keys, value_width, inner),
    )


@triton.jit
@no_type_check
def start_grads(grads, sizes, head):
    """Pointers to the gradients of one attention: query, row bias, column bias, and keys'."""
    grad_query, grad_row_bias, grad_column_bias, grad_key, grad_key_logits, grad_value = grads
    queries, rows, columns, width, value_width, _, _, inner, _, _, _ = sizes
    keys = rows * columns
    grad_keys = (
        start_of(grad_key, head, keys, width, inner),
        start_of(grad_key_logits, head, keys, 1, inner),
        start_of(grad_value, head, keys, value_width, inner),
    )
    return (
        start_of(grad_query, head, queries, width, inner),
        start_of(grad_row_bias, head, rows, queries, 1),
        start_of(grad_column_bias, head, queries, columns, 1),
        grad_keys,
    )


@triton.jit
@no_type_check
def load_column_bias(column_bias, index, valid, column, columns, zero, value):
    """The column bias, (QUERIES, KEYS), and minus infinity beyond the last column.

    In 16 bits a product of zeros is added. It gives the bias the register layout that the products
    with values need; without content, nothing else would convert it once for all rows.
    """
    in_row = (column < columns)[None, :]
    mask = valid[:, None] & in_row
    at = index[:, None] * columns + column[None, :]
    bias = tl.load(column_bias + at, mask=mask, other=0.0)
    dtype: tl.constexpr = value.dtype.element_ty
    if dtype.primitive_bitwidth == 16:
        left = tl.full((index.shape[0], 16), zero, dtype)
        right = tl.full((16, column.shape[0]), zero, dtype)
        bias += tl.dot(left, right, out_dtype=bias.dtype)
    return tl.where(in_row, bias, float("-inf"))


@triton.jit
@no_type_check
def load_row_bias(
    row_bias, row, rows, queries, index, valid, exact: tl.constexpr, HAS_ROW_BIAS: tl.constexpr
):
    """The row bias of one row, (QUERIES,); zeros beyond the last row, or without a row bias.

    It is loaded one row ahead, to hide the latency.
    """
    bias = tl.zeros(index.shape, exact)
    if HAS_ROW_BIAS:
        mask = valid & (row < rows)
        bias = tl.load(row_bias + row * queries + index, mask=mask, other=0.0)
    return bias


@triton.jit
@no_type_check
def load_key_logits(
    key_logits,
    key_index,
    in_row,
    inner,
    QUERIES: tl.constexpr,
    exact: tl.constexpr,
    KEY_LOGITS: tl.constexpr,
):
    """Logits of keys, (QUERIES, KEYS) or (1, KEYS).

    Parts are added by a product with ones, for its register layout (see `load_column_bias`).
    """
    if KEY_LOGITS == 1:
        logits = tl.load(key_logits + key_index * inner, mask=in_row, other=0.0)[None, :]
    else:
        parts = load_vectors(key_logits, key_index, in_row, KEY_LOGITS, inner, KEY_LOGITS)
        ones = tl.full((QUERIES, KEY_LOGITS), 1.0, key_logits.dtype.element_ty)
        logits = dot(ones, tl.trans(parts), exact)
    return logits


@triton.jit
@no_type_check
def sum_over_queries(grad_logits, dtype: tl.constexpr, KEY_LOGITS: tl.constexpr):
    """The sum over queries per key, in the first channel of (KEYS, KEY_LOGITS)."""
    if KEY_LOGITS == 1:
        total = tl.sum(grad_logits, 0)[:, None]
    else:
        ones = tl.full((grad_logits.shape[0], KEY_LOGITS), 1.0, dtype)
        total = dot(tl.trans(grad_logits.to(dtype)), ones, grad_logits.dtype)
    return total


@triton.jit
@no_type_check
def pair_logits(
    by_column,
    tile_query,
    tile_key,
    key_logits,
    at,  # of keys: their indices, whether they are in the row, inner
    HAS_CONTENT: tl.constexpr,
    KEY_LOGITS: tl.constexpr,
):
    """Logits without the row bias: column bias, content and key logits."""
    logits = by_column
    if HAS_CONTENT:
        logits += dot(tile_query, tl.trans(tile_key), by_column.dtype)
    if KEY_LOGITS:
        key_index, in_row, inner = at
        logits += load_key_logits(
            key_logits, key_index, in_row, inner, by_column.shape[0], by_column.dtype, KEY_LOGITS
        )
    return logits


@triton.jit
@no_type_check
def reached_rows(sizes, first, last, HAS_MASK: tl.constexpr):
    """The first row of keys that queries `first` to `last` reach, and the one after the last."""
    _, rows, _, _, _, _, _, _, across, stride, reach = sizes
    start, stop = 0, rows
    if HAS_MASK:
        start = tl.cdiv(tl.maximum(first // across - reach, 0), stride)
        start = tl.minimum(start, rows - 1)  # at least one row, even if all of it is masked
        stop = tl.maximum(tl.minimum(rows, (last // across + reach) // stride + 1), start + 1)
    return start, stop


@triton.jit
@no_type_check
def reaching_queries(sizes, row, HAS_MASK: tl.constexpr):
    """The first query that reaches this row of keys, and the one after the last."""
    queries, _, _, _, _, _, _, _, across, stride, reach = sizes
    start, stop = 0, queries
    if HAS_MASK:
        start = tl.maximum(row * stride - reach, 0) * across
        stop = tl.minimum((row * stride + reach + 1), queries // across) * across
    return start, stop


@triton.jit
@no_type_check
def load_incoming(
    incoming,
    sizes,
    head,
    index,
    VALUE_WIDTH: tl.constexpr,
    HAS_LSE_GRAD: tl.constexpr,
    STORE_MEANS: tl.constexpr,
    HAS_MASK: tl.constexpr,
):
    """Lse and gradients of outputs of these queries, and the mean that is subtracted from them.

    The mean is grad_output . output, minus the gradient of the lse with HAS_LSE_GRAD.
    """
    lse, output, grad_output, grad_lse, means = incoming
    queries, _, _, _, width, _, _, inner, _, _, _ = sizes
    valid = index < queries
    exact = lse.dtype.element_ty
    grad_output = start_of(grad_output, head, queries, width, inner)
    grad_output = load_vectors(grad_output, index, valid, width, inner, VALUE_WIDTH)
    output = start_of(output, head, queries, width, inner)
    output = load_vectors(output, index, valid, width, inner, VALUE_WIDTH)
    mean = tl.sum(grad_output.to(exact) * output.to(exact), 1)
    if HAS_LSE_GRAD:
        grad_lse = start_of(grad_lse, head, queries, 1, inner)
        mean -= tl.load(grad_lse + index * inner, mask=valid, other=0.0)
    if STORE_MEANS:
        tl.store(start_of(means, head, queries, 1, inner) + index * inner, mean, mask=valid)
    tile_lse = load_lse(start_of(lse, head, queries, 1, inner), index, valid, inner, HAS_MASK)
    grad_output, mean = zero_if_all_masked(grad_output, mean, tile_lse, HAS_MASK)
    return tile_lse, grad_output, mean


@triton.jit
@no_type_check
def load_lse(lse, index, valid, inner, HAS_MASK: tl.constexpr):
    """Lse of queries; infinity where a query is invalid or all of its keys are masked."""
    tile_lse = tl.load(lse + index * inner, mask=valid, other=float("inf"))
    if HAS_MASK:
        tile_lse = tl.where(tile_lse <= _MASK_THRESHOLD, float("inf"), tile_lse)
    return tile_lse


@triton.jit
@no_type_check
def zero_if_all_masked(grad_output, mean, lse, HAS_MASK: tl.constexpr):
    """Zero the gradients of queries all of whose keys are masked, even if they are NaN."""
    if HAS_MASK:
        masked = lse == float("inf")
        grad_output = tl.where(masked[:, None], tl.zeros_like(grad_output), grad_output)
        mean = tl.where(masked, 0.0, mean)
    return grad_output, mean


@triton.jit
@no_type_check
def initial_max(QUERIES: tl.constexpr, exact: tl.constexpr, HAS_MASK: tl.constexpr):
    """The initial running maximum; with HAS_MASK it exceeds all masked logits."""
    lowest = tl.full((QUERIES,), float("-inf"), exact)
    if HAS_MASK:
        lowest = tl.full((QUERIES,), _MASK_THRESHOLD, exact)
    return lowest


@triton.jit
@no_type_check
def add_key_grads(
    grad_keys,
    weights,
    grad_logits,
    grad_output,
    tile_query,
    at,
    sizes,
    HAS_CONTENT: tl.constexpr,
    KEY_LOGITS: tl.constexpr,
):
    """Atomically add a tile of queries' part of the gradients of keys, key logits and values."""
    grad_key, grad_key_logits, grad_value = grad_keys
    key_index, in_row, inner = at
    _, _, _, width, value_width, _, _, _, _, _, _ = sizes
    part = dot(tl.trans(weights.to(grad_output.dtype)), grad_output, weights.dtype)
    atomic_add_vectors(
        grad_value, part, key_index, in_row, value_width, inner, grad_output.shape[1]
    )
    if HAS_CONTENT:
        part = dot(tl.trans(grad_logits.to(tile_query.dtype)), tile_query, weights.dtype)
        atomic_add_vectors(grad_key, part, key_index, in_row, width, inner, tile_query.shape[1])
    if KEY_LOGITS:
        part = sum_over_queries(grad_logits, grad_output.dtype, KEY_LOGITS)
        atomic_add_vectors(grad_key_logits, part, key_index, in_row, 1, inner, KEY_LOGITS)
