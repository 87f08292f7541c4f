"""Attention on a map by tiles, in Triton: what one program of a GPU does.

A tile of queries meets the keys one row of the map at a time. What the columns of the keys add to
the logits is then the same for every row, and what a row adds is one number for each query:

    logits = asks . keys  +  columns[q, kx]   +  rows[q, ky]  +  key_logits[k]
                             kept for all rows   a number        the same for all queries

so that positions cost two additions for a pair. (For the gradients of keys a tile of keys meets
the queries in turn, and reads their tables.) No program writes what another one writes: gradients
need no atomic additions, and repeat bit for bit.

Tensors are contiguous; `asks` and `key` are None where content meets no query, `key_logits` where
there are none. Logits, sums and gradients of tables are float32, or float64 for float64.

Shapes: bh batch and heads together, q queries, k keys (row by row), d width of asks and keys,
e width of values, y rows and x columns of keys, t tables: `rows` (t, y, q) and `columns` (t, q, x)
are those of each batch element and head, or of each head for all batch elements.

Source: Dao 2023, https://arxiv.org/abs/2307.08691, section 3.1, for tiles and what is made again
for the gradients; Zhu et al. 2019, https://arxiv.org/abs/1904.05873, equation 2, for the logits.
Tables that stay while rows pass are our own.
"""

from typing import no_type_check

import triton
import triton.language as tl


@triton.jit
@no_type_check
def mix(
    factors,  # asks, key, key_logits, rows, columns, value
    mixed,  # (bh, q, e), written
    totals,  # (bh, q), written: the logarithm of what the weights are divided by
    sizes,  # of q, y, x, d, e and t
    QUERIES: tl.constexpr,
    KEYS: tl.constexpr,
    WIDTH: tl.constexpr,
    VALUE_WIDTH: tl.constexpr,
):
    """Outputs of one tile of queries, of one head."""
    queries, above, along, width, value_width, _ = sizes
    exact = totals.dtype.element_ty
    tiles = tl.cdiv(queries, QUERIES)
    head = (tl.program_id(0) // tiles).to(tl.int64)
    asks, key, key_logits, rows, columns, value = _of_head(factors, sizes, head)
    totals = _part(totals, head, queries)
    mixed = _part(mixed, head, queries * value_width)
    query = tl.program_id(0) % tiles * QUERIES + tl.arange(0, QUERIES)
    asked = query < queries
    if asks is not None:
        ours = _vectors(asks, query, asked, width, WIDTH)
    highest = tl.full((QUERIES,), float("-inf"), exact)
    total = tl.zeros((QUERIES,), exact)
    sums = tl.zeros((QUERIES, VALUE_WIDTH), exact)
    for left in range(0, along, KEYS):
        column = left + tl.arange(0, KEYS)
        there = column < along
        of_columns = _of_columns(columns, query, asked, column, along)
        for row in range(above):
            place = row * along + column
            logits = of_columns + _of_row(rows, row * queries + query, asked)
            if key_logits is not None:
                logits += tl.load(key_logits + place, mask=there, other=0.0)[None, :]
            if asks is not None:
                theirs = _vectors(key, place, there, width, WIDTH)
                logits += _product(ours, tl.trans(theirs), exact)
            values = _vectors(value, place, there, value_width, VALUE_WIDTH)
            higher = tl.maximum(highest, tl.max(logits, 1))
            weights = tl.exp(logits - higher[:, None])
            before = tl.exp(highest - higher)
            total = total * before + tl.sum(weights, 1)
            sums = sums * before[:, None] + _product(weights.to(values.dtype), values, exact)
            highest = higher
    _keep(mixed, sums / total[:, None], query, asked, value_width, VALUE_WIDTH)
    tl.store(totals + query, highest + tl.log(total), mask=asked)


@triton.jit
@no_type_check
def gradients_of_queries(
    factors,
    totals,
    means,  # (bh, q): the mean of what enters the weights of each query
    given,  # (bh, q, e): the gradient of `mixed`
    to_asks,  # (bh, q, d), written
    to_rows,  # (bh, y, q), written
    to_columns,  # (bh, q, x), written
    sizes,
    QUERIES: tl.constexpr,
    KEYS: tl.constexpr,
    WIDTH: tl.constexpr,
    VALUE_WIDTH: tl.constexpr,
):
    """Gradients of what one tile of queries asks, of content and of positions."""
    queries, above, along, width, value_width, _ = sizes
    exact = totals.dtype.element_ty
    tiles = tl.cdiv(queries, QUERIES)
    head = (tl.program_id(0) // tiles).to(tl.int64)
    asks, key, key_logits, rows, columns, value = _of_head(factors, sizes, head)
    totals, means = _part(totals, head, queries), _part(means, head, queries)
    given = _part(given, head, queries * value_width)
    to_asks = _part(to_asks, head, queries * width)
    to_rows = _part(to_rows, head, above * queries)
    to_columns = _part(to_columns, head, queries * along)
    query = tl.program_id(0) % tiles * QUERIES + tl.arange(0, QUERIES)
    asked = query < queries
    if asks is not None:
        ours = _vectors(asks, query, asked, width, WIDTH)
        found = tl.zeros((QUERIES, WIDTH), exact)
    entering = _vectors(given, query, asked, value_width, VALUE_WIDTH)
    total = tl.load(totals + query, mask=asked, other=float("inf"))
    mean = tl.load(means + query, mask=asked, other=0.0)
    for left in range(0, along, KEYS):
        column = left + tl.arange(0, KEYS)
        there = column < along
        of_columns = _of_columns(columns, query, asked, column, along)
        spent = tl.zeros((QUERIES, KEYS), exact)
        for row in range(above):
            place = row * along + column
            logits = of_columns + _of_row(rows, row * queries + query, asked)
            if key_logits is not None:
                logits += tl.load(key_logits + place, mask=there, other=0.0)[None, :]
            if asks is not None:
                theirs = _vectors(key, place, there, width, WIDTH)
                logits += _product(ours, tl.trans(theirs), exact)
            values = _vectors(value, place, there, value_width, VALUE_WIDTH)
            weights = tl.exp(logits - total[:, None])
            of_logits = weights * (_product(entering, tl.trans(values), exact) - mean[:, None])
            spent += of_logits
            to_row = to_rows + row * queries + query
            before = tl.load(to_row, mask=asked & (left > 0), other=0.0)
            tl.store(to_row, before + tl.sum(of_logits, 1), mask=asked)
            if asks is not None:
                found += _product(of_logits.to(theirs.dtype), theirs, exact)
        _keep(to_columns + left, spent, query, asked, along, KEYS, along - left)
        tl.debug_barrier()  # threads may read what others of this program wrote of the rows
    if asks is not None:
        _keep(to_asks, found, query, asked, width, WIDTH)


@triton.jit
@no_type_check
def gradients_of_keys(
    factors,
    totals,
    means,
    given,
    to_key,  # (bh, k, d), written
    to_key_logits,  # (bh, k), written
    to_value,  # (bh, k, e), written
    sizes,
    QUERIES: tl.constexpr,
    KEYS: tl.constexpr,
    WIDTH: tl.constexpr,
    VALUE_WIDTH: tl.constexpr,
):
    """Gradients of one tile of keys, a part of a row: of content, logits and values."""
    queries, above, along, width, value_width, _ = sizes
    exact = totals.dtype.element_ty
    tiles = above * tl.cdiv(along, KEYS)
    head, tile = (tl.program_id(0) // tiles).to(tl.int64), tl.program_id(0) % tiles
    asks, key, key_logits, rows, columns, value = _of_head(factors, sizes, head)
    totals, means = _part(totals, head, queries), _part(means, head, queries)
    given = _part(given, head, queries * value_width)
    to_key = _part(to_key, head, above * along * width)
    to_key_logits = _part(to_key_logits, head, above * along)
    to_value = _part(to_value, head, above * along * value_width)
    row, column = tile % above, tile // above * KEYS + tl.arange(0, KEYS)
    there, place = column < along, row * along + column
    values = _vectors(value, place, there, value_width, VALUE_WIDTH)
    sums = tl.zeros((KEYS, VALUE_WIDTH), exact)
    spent = tl.zeros((KEYS,), exact)
    if asks is not None:
        theirs = _vectors(key, place, there, width, WIDTH)
        found = tl.zeros((KEYS, WIDTH), exact)
    for first in range(0, queries, QUERIES):
        query = first + tl.arange(0, QUERIES)
        asked = query < queries
        logits = _of_columns(columns, query, asked, column, along)
        logits += _of_row(rows, row * queries + query, asked)
        if key_logits is not None:
            logits += tl.load(key_logits + place, mask=there, other=0.0)[None, :]
        if asks is not None:
            ours = _vectors(asks, query, asked, width, WIDTH)
            logits += _product(ours, tl.trans(theirs), exact)
        entering = _vectors(given, query, asked, value_width, VALUE_WIDTH)
        total = tl.load(totals + query, mask=asked, other=float("inf"))
        mean = tl.load(means + query, mask=asked, other=0.0)
        weights = tl.exp(logits - total[:, None])
        sums += _product(tl.trans(weights.to(entering.dtype)), entering, exact)
        of_logits = weights * (_product(entering, tl.trans(values), exact) - mean[:, None])
        spent += tl.sum(of_logits, 0)
        if asks is not None:
            found += _product(tl.trans(of_logits.to(ours.dtype)), ours, exact)
    _keep(to_value, sums, place, there, value_width, VALUE_WIDTH)
    if key_logits is not None:
        tl.store(to_key_logits + place, spent, mask=there)
    if asks is not None:
        _keep(to_key, found, place, there, width, WIDTH)


@triton.jit
@no_type_check
def _of_head(factors, sizes, head):
    """Where the parts of one batch element and head begin."""
    asks, key, key_logits, rows, columns, value = factors
    queries, above, along, width, value_width, tables = sizes
    keys, table = above * along, head % tables
    return (
        _part(asks, head, queries * width),
        _part(key, head, keys * width),
        _part(key_logits, head, keys),
        _part(rows, table, above * queries),
        _part(columns, table, queries * along),
        _part(value, head, keys * value_width),
    )


@triton.jit
@no_type_check
def _part(x, number, size):
    """Where the part of so many numbers begins; within one, 32 bits tell the place."""
    return x if x is None else x + number * size


@triton.jit
@no_type_check
def _of_columns(columns, at, asked, column, along):
    """What columns add to logits, (QUERIES, KEYS), and minus infinity beyond the last one."""
    there = (column < along)[None, :]
    inside = asked[:, None] & there
    found = tl.load(columns + at[:, None] * along + column[None, :], mask=inside, other=0.0)
    return tl.where(there, found, float("-inf"))


@triton.jit
@no_type_check
def _of_row(rows, at, asked):
    """What one row adds to logits, (QUERIES, 1)."""
    return tl.load(rows + at, mask=asked, other=0.0)[:, None]


@triton.jit
@no_type_check
def _vectors(x, number, there, width, WIDTH: tl.constexpr):
    """The vectors of these numbers, with zeros up to the width of a tile and where none is."""
    channel = tl.arange(0, WIDTH)
    inside = there[:, None] & (channel < width)[None, :]
    return tl.load(x + number[:, None] * width + channel[None, :], mask=inside, other=0.0)


@triton.jit
@no_type_check
def _keep(x, made, number, there, width, WIDTH: tl.constexpr, last=None):
    """Write vectors, of which `last` channels (default: `width`) are inside."""
    channel = tl.arange(0, WIDTH)
    inside = there[:, None] & (channel < (width if last is None else last))[None, :]
    at = x + number[:, None] * width + channel[None, :]
    tl.store(at, made.to(x.dtype.element_ty), mask=inside)


@triton.jit
@no_type_check
def _product(ours, theirs, exact: tl.constexpr):
    """A matrix product, summed in the exact type, of which nothing is rounded to TF32."""
    return tl.dot(ours, theirs, input_precision="ieee", out_dtype=exact)
