"""What the kernels that mix values share, in Triton: logits, bounds, and what gradients are of.

`tile_kernels` names the shapes.

Source: Dao 2023, https://arxiv.org/abs/2307.08691, section 3.1.
"""

from typing import no_type_check

import triton
import triton.language as tl

from quatrain.ops.attention.triton.position_bias import NO_WEIGHT
from quatrain.ops.attention.triton.primitives import add, begin, product, vectors

_NO_WEIGHT = tl.constexpr(NO_WEIGHT)


@triton.jit
@no_type_check
def of_head(factors, sizes, head, KEY_LOGITS: tl.constexpr):
    """Where the parts of one attention begin."""
    asks, key, key_logits, rows, columns, value = factors
    queries, above, along, width, value_width, tables, outer, inner, _, _, _ = sizes
    keys, table = above * along, head // (outer * inner) % tables
    return (
        begin(asks, head, queries, width, inner),
        begin(key, head, keys, width, inner),
        begin(key_logits, head, keys, KEY_LOGITS, inner),
        begin(rows, table, above, queries, 1),
        begin(columns, table, queries, along, 1),
        begin(value, head, keys, value_width, inner),
    )


@triton.jit
@no_type_check
def of_columns(columns, query, asked, column, along, nothing, value):
    """What columns add to logits, (QUERIES, KEYS), and minus infinity beyond the last one.

    In 16 bits a product of zeros is added. It lies among the threads as the products with values
    want logits to, and where there is no content, only this brings them there once and for all.
    """
    there = (column < along)[None, :]
    inside = asked[:, None] & there
    found = tl.load(columns + query[:, None] * along + column[None, :], mask=inside, other=0.0)
    kind: tl.constexpr = value.dtype.element_ty
    if kind.primitive_bitwidth == 16:
        ours = tl.full((query.shape[0], 16), nothing, kind)
        theirs = tl.full((16, column.shape[0]), nothing, kind)
        found += tl.dot(ours, theirs, out_dtype=found.dtype)
    return tl.where(there, found, float("-inf"))


@triton.jit
@no_type_check
def of_row(rows, row, above, queries, query, asked, exact: tl.constexpr, ROWS: tl.constexpr):
    """What one row adds to logits, (QUERIES,); beyond the last one, or without a table, zeros.

    It is asked for a row ahead, so that nothing waits for it.
    """
    found = tl.zeros(query.shape, exact)
    if ROWS:
        here = asked & (row < above)
        found = tl.load(rows + row * queries + query, mask=here, other=0.0)
    return found


@triton.jit
@no_type_check
def of_keys(
    key_logits,
    place,
    there,
    inner,
    QUERIES: tl.constexpr,
    exact: tl.constexpr,
    KEY_LOGITS: tl.constexpr,
):
    """What each key adds to the logits of queries, (QUERIES, KEYS) or (1, KEYS).

    Parts are added by a product with ones, for the sake of where it lies (see `of_columns`).
    """
    if KEY_LOGITS == 1:
        made = tl.load(key_logits + place * inner, mask=there, other=0.0)[None, :]
    else:
        theirs = vectors(key_logits, place, there, KEY_LOGITS, inner, KEY_LOGITS)
        ones = tl.full((QUERIES, KEY_LOGITS), 1.0, key_logits.dtype.element_ty)
        made = product(ones, tl.trans(theirs), exact)
    return made


@triton.jit
@no_type_check
def sums_of_keys(of_logits, kind: tl.constexpr, KEY_LOGITS: tl.constexpr):
    """The sum over queries for each key, (KEYS, KEY_LOGITS), in its first channel."""
    if KEY_LOGITS == 1:
        made = tl.sum(of_logits, 0)[:, None]
    else:
        ones = tl.full((of_logits.shape[0], KEY_LOGITS), 1.0, kind)
        made = product(tl.trans(of_logits.to(kind)), ones, of_logits.dtype)
    return made


@triton.jit
@no_type_check
def of_pairs(
    by_column,
    ours,
    theirs,
    key_logits,
    at,  # of keys: their numbers, whether they are there, inner
    CONTENT: tl.constexpr,
    KEY_LOGITS: tl.constexpr,
):
    """Logits but for what rows add: with what content adds, and what each key does for all."""
    logits = by_column
    if CONTENT:
        logits += product(ours, tl.trans(theirs), by_column.dtype)
    if KEY_LOGITS:
        place, there, inner = at
        logits += of_keys(
            key_logits, place, there, inner, by_column.shape[0], by_column.dtype, KEY_LOGITS
        )
    return logits


@triton.jit
@no_type_check
def rows_within(sizes, first, last, FAR: tl.constexpr):
    """The first row of keys that queries of these numbers reach, and the one after the last."""
    _, above, _, _, _, _, _, _, across, stride, reach = sizes
    start, stop = 0, above
    if FAR:
        start = tl.cdiv(tl.maximum(first // across - reach, 0), stride)
        start = tl.minimum(start, above - 1)  # one row at least, whatever stands in it
        stop = tl.maximum(tl.minimum(above, (last // across + reach) // stride + 1), start + 1)
    return start, stop


@triton.jit
@no_type_check
def queries_within(sizes, row, FAR: tl.constexpr):
    """The first query that reaches this row of keys, and the one after the last."""
    queries, _, _, _, _, _, _, _, across, stride, reach = sizes
    start, stop = 0, queries
    if FAR:
        start = tl.maximum(row * stride - reach, 0) * across
        stop = tl.minimum((row * stride + reach + 1), queries // across) * across
    return start, stop


@triton.jit
@no_type_check
def gradients_of_head(written, sizes, head):
    """Where the gradients of one attention begin: of asks, rows, columns, and those of keys."""
    to_asks, to_rows, to_columns, to_key, to_key_logits, to_value = written
    queries, above, along, width, value_width, _, _, inner, _, _, _ = sizes
    keys = above * along
    to_keys = (
        begin(to_key, head, keys, width, inner),
        begin(to_key_logits, head, keys, 1, inner),
        begin(to_value, head, keys, value_width, inner),
    )
    return (
        begin(to_asks, head, queries, width, inner),
        begin(to_rows, head, above, queries, 1),
        begin(to_columns, head, queries, along, 1),
        to_keys,
    )


@triton.jit
@no_type_check
def entering_weights(
    entering,
    sizes,
    head,
    query,
    VALUE_WIDTH: tl.constexpr,
    TOTALS: tl.constexpr,
    KEEP: tl.constexpr,
    FAR: tl.constexpr,
):
    """Totals and gradients of outputs of these queries, and the mean of what enters the weights.

    With TOTALS, there is a gradient of totals; with KEEP, means are written.
    """
    totals, mixed, given, to_totals, means = entering
    queries, _, _, _, width, _, _, inner, _, _, _ = sizes
    asked = query < queries
    exact = totals.dtype.element_ty
    given = begin(given, head, queries, width, inner)
    given = vectors(given, query, asked, width, inner, VALUE_WIDTH)
    mixed = begin(mixed, head, queries, width, inner)
    mixed = vectors(mixed, query, asked, width, inner, VALUE_WIDTH)
    mean = tl.sum(given.to(exact) * mixed.to(exact), 1)
    if TOTALS:
        to_totals = begin(to_totals, head, queries, 1, inner)
        mean -= tl.load(to_totals + query * inner, mask=asked, other=0.0)
    if KEEP:
        tl.store(begin(means, head, queries, 1, inner) + query * inner, mean, mask=asked)
    total = totals_of(begin(totals, head, queries, 1, inner), query, asked, inner, FAR)
    given, mean = if_weighed(given, mean, total, FAR)
    return total, given, mean


@triton.jit
@no_type_check
def if_weighed(given, mean, total, FAR: tl.constexpr):
    """What enters the weights of queries; zeros for those without any, whatever is given there."""
    if FAR:
        none = total == float("inf")
        given = tl.where(none[:, None], tl.zeros_like(given), given)
        mean = tl.where(none, 0.0, mean)
    return given, mean


@triton.jit
@no_type_check
def lowest_of(QUERIES: tl.constexpr, exact: tl.constexpr, FAR: tl.constexpr):
    """What no maximum of logits is below: with FAR, rows of no weight must not be one."""
    lowest = tl.full((QUERIES,), float("-inf"), exact)
    if FAR:
        lowest = tl.full((QUERIES,), _NO_WEIGHT, exact)
    return lowest


@triton.jit
@no_type_check
def totals_of(totals, query, asked, inner, FAR: tl.constexpr):
    """Totals of queries, and infinity where no query is there, or none of its keys has a weight."""
    total = tl.load(totals + query * inner, mask=asked, other=float("inf"))
    if FAR:
        total = tl.where(total <= _NO_WEIGHT, float("inf"), total)
    return total


@triton.jit
@no_type_check
def give_to_keys(
    to_keys,
    weights,
    of_logits,
    given,
    ours,
    at,
    sizes,
    CONTENT: tl.constexpr,
    KEY_LOGITS: tl.constexpr,
):
    """Add what a tile of queries gives to the gradients of keys, of their logits and of values."""
    to_key, to_key_logits, to_value = to_keys
    place, there, inner = at
    _, _, _, width, value_width, _, _, _, _, _, _ = sizes
    more = product(tl.trans(weights.to(given.dtype)), given, weights.dtype)
    add(to_value, more, place, there, value_width, inner, given.shape[1])
    if CONTENT:
        more = product(tl.trans(of_logits.to(ours.dtype)), ours, weights.dtype)
        add(to_key, more, place, there, width, inner, ours.shape[1])
    if KEY_LOGITS:
        more = sums_of_keys(of_logits, given.dtype, KEY_LOGITS)
        add(to_key_logits, more, place, there, 1, inner, KEY_LOGITS)
