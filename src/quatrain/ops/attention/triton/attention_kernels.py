"""Attention on a map by tiles, in Triton: what one program of a GPU does.

A tile of queries meets the keys one row of the map at a time. What the columns of the keys add to
the logits is then the same for every row, and what a row adds is one number for each query:

    logits = asks . keys  +  columns[q, kx]   +  rows[q, ky]  +  key_logits[k]
                             kept for all rows   a number        the same for all queries

so that positions cost one addition for a pair: what a row adds goes to the maximum instead. The
gradients of keys are added up by all tiles of queries, atomically, in an order that differs from
call to call. Where the last bits must repeat, a kernel in which a tile of keys meets the queries in
turn and reads their tables again makes them, with the means that the other one left.

Tensors are contiguous. Without CONTENT there are no `asks` and no `key`, without ROWS no `rows`:
something else stands in their place. KEY_LOGITS tells how many numbers add up to one of
`key_logits`: none where it is 0, and 16 with operands of 16 bits (`tile_vectors.parts_of`). FAR
tells that logits may stand for no weight: there are key logits, or queries reach no further than a
band of rows. Logits, sums and gradients of tables are float32, or float64 for float64.

Shapes: n attentions, each of one batch element and head; q queries, k keys (row by row), d width of
asks and keys, e width of values, y rows and x columns of keys, t tables: `rows` (t, y, q) and
`columns` (t, q, x) are those of each batch element and head, or of each head for all elements.
Where a batch element and head has several attentions, first `outer` times as many lie one after the
other, and then `inner` times as many vector by vector in turn (`tile_vectors`); they share tables.

Source: Dao 2023, https://arxiv.org/abs/2307.08691, section 3.1, for tiles and what is made again
for the gradients; Zhu et al. 2019, https://arxiv.org/abs/1904.05873, equation 2, for the logits.
Tables that stay while rows pass are our own.
"""

from typing import no_type_check

import triton
import triton.language as tl

from quatrain.ops.attention.triton.attention_parts import (
    entering_weights,
    give_to_keys,
    gradients_of_head,
    if_weighed,
    lowest_of,
    of_columns,
    of_head,
    of_pairs,
    of_row,
    queries_within,
    rows_within,
    sums_of_keys,
    totals_of,
)
from quatrain.ops.attention.triton.primitives import (
    add_up,
    begin,
    exp_of_difference,
    keep,
    keep_tile,
    of_program,
    product,
    vectors,
    vectors_if,
)


@triton.jit
@no_type_check
def mix(
    factors,  # asks, key, key_logits, rows, columns, value
    mixed,  # (n, q, e), written
    totals,  # (n, q), written: the logarithm of what the weights are divided by
    nothing,  # the number 0, which the compiler must not know
    sizes,  # of q, y, x, d, e and t, outer, inner; queries in a row, stride of keys, and reach
    QUERIES: tl.constexpr,
    KEYS: tl.constexpr,
    WIDTH: tl.constexpr,
    VALUE_WIDTH: tl.constexpr,
    CONTENT: tl.constexpr,
    KEY_LOGITS: tl.constexpr,
    ROWS: tl.constexpr,
    FAR: tl.constexpr,
):
    """Outputs of one tile of queries, of one attention."""
    queries, above, along, width, value_width, _, _, inner, _, _, _ = sizes
    exact = totals.dtype.element_ty
    head, query, asked = of_program(queries, QUERIES)
    asks, key, key_logits, rows, columns, value = of_head(factors, sizes, head, KEY_LOGITS)
    totals = begin(totals, head, queries, 1, inner)
    mixed = begin(mixed, head, queries, value_width, inner)
    ours = vectors_if(asks, query, asked, width, inner, WIDTH, CONTENT)
    start, stop = rows_within(sizes, tl.min(query), tl.max(query), FAR)
    highest = lowest_of(QUERIES, exact, FAR)
    total = tl.zeros((QUERIES,), exact)
    sums = tl.zeros((QUERIES, VALUE_WIDTH), exact)
    for left in range(0, along, KEYS):
        column = left + tl.arange(0, KEYS)
        there = column < along
        by_column = of_columns(columns, query, asked, column, along, nothing, value)
        next_row = of_row(rows, start, above, queries, query, asked, exact, ROWS)
        for row in range(start, stop):
            place = row * along + column
            by_row = next_row
            next_row = of_row(rows, row + 1, above, queries, query, asked, exact, ROWS)
            theirs = vectors_if(key, place, there, width, inner, WIDTH, CONTENT)
            at = (place, there, inner)
            logits = of_pairs(by_column, ours, theirs, key_logits, at, CONTENT, KEY_LOGITS)
            values = vectors(value, place, there, value_width, inner, VALUE_WIDTH)
            higher = tl.maximum(highest, tl.max(logits, 1) + by_row)
            weights = exp_of_difference(logits, (higher - by_row)[:, None], FAR)
            before = exp_of_difference(highest, higher, FAR)
            total = total * before + tl.sum(weights, 1)
            sums = sums * before[:, None] + product(weights.to(values.dtype), values, exact)
            highest = higher
    if FAR:
        total = tl.where(total == 0.0, 1.0, total)  # no key has a weight: the sum is zero
    keep(mixed, sums / total[:, None], query, asked, value_width, inner, VALUE_WIDTH)
    tl.store(totals + query * inner, highest + tl.log(total), mask=asked)


@triton.jit
@no_type_check
def gradients_of_queries(
    factors,
    entering,  # totals, mixed, gradients of mixed (n, q, e) and, with TOTALS, of totals; means
    written,  # gradients of asks (n, q, d), rows (n, y, q), columns (n, q, x); those of keys below
    nothing,
    sizes,
    QUERIES: tl.constexpr,
    KEYS: tl.constexpr,
    WIDTH: tl.constexpr,
    VALUE_WIDTH: tl.constexpr,
    CONTENT: tl.constexpr,
    KEY_LOGITS: tl.constexpr,
    ROWS: tl.constexpr,
    FAR: tl.constexpr,
    TOTALS: tl.constexpr,
    TO_KEYS: tl.constexpr,
):
    """Gradients of what one tile of queries asks, and with TO_KEYS what it adds for keys."""
    queries, above, along, width, value_width, _, _, inner, _, _, _ = sizes
    head, query, asked = of_program(queries, QUERIES)
    asks, key, key_logits, rows, columns, value = of_head(factors, sizes, head, KEY_LOGITS)
    to_asks, to_rows, to_columns, to_keys = gradients_of_head(written, sizes, head)
    total, given, mean = entering_weights(
        entering, sizes, head, query, VALUE_WIDTH, TOTALS, not TO_KEYS, FAR
    )
    exact = total.dtype
    ours = vectors_if(asks, query, asked, width, inner, WIDTH, CONTENT)
    found = tl.zeros((QUERIES, WIDTH), exact)
    start, stop = rows_within(sizes, tl.min(query), tl.max(query), FAR)
    row = start + tl.program_id(0) % (stop - start)  # not all add to the same place at once
    for left in range(0, along, KEYS):
        column = left + tl.arange(0, KEYS)
        there = column < along
        by_column = of_columns(columns, query, asked, column, along, nothing, value)
        spent = tl.zeros((QUERIES, KEYS), exact)
        next_row = of_row(rows, row, above, queries, query, asked, exact, ROWS)
        for _ in range(start, stop):
            after = tl.where(row + 1 < stop, row + 1, start)
            place, by_row = row * along + column, next_row
            next_row = of_row(rows, after, above, queries, query, asked, exact, ROWS)
            theirs = vectors_if(key, place, there, width, inner, WIDTH, CONTENT)
            at = (place, there, inner)
            logits = of_pairs(by_column, ours, theirs, key_logits, at, CONTENT, KEY_LOGITS)
            values = vectors(value, place, there, value_width, inner, VALUE_WIDTH)
            weights = exp_of_difference(logits, (total - by_row)[:, None], FAR)
            of_logits = weights * (product(given, tl.trans(values), exact) - mean[:, None])
            spent += of_logits
            if ROWS:
                add_up(to_rows + row * queries + query, tl.sum(of_logits, 1), asked, left > 0)
            if CONTENT:
                found += product(of_logits.to(theirs.dtype), theirs, exact)
            if TO_KEYS:
                give_to_keys(
                    to_keys, weights, of_logits, given, ours, at, sizes, CONTENT, KEY_LOGITS
                )
            row = after
        keep_tile(to_columns, spent, query, asked, column, along)
        tl.debug_barrier()  # threads may read what others of this program wrote of the rows
    if CONTENT:
        keep(to_asks, found, query, asked, width, inner, WIDTH)


@triton.jit
@no_type_check
def gradients_of_keys(
    factors,
    entering,
    written,  # the last three: gradients of keys (n, k, d), logits (n, k) and values (n, k, e)
    nothing,
    sizes,
    QUERIES: tl.constexpr,
    KEYS: tl.constexpr,
    WIDTH: tl.constexpr,
    VALUE_WIDTH: tl.constexpr,
    CONTENT: tl.constexpr,
    KEY_LOGITS: tl.constexpr,
    ROWS: tl.constexpr,
    FAR: tl.constexpr,
):
    """Gradients of one tile of keys, a part of a row: of content, logits and values."""
    queries, above, along, width, value_width, _, _, inner, _, _, _ = sizes
    totals, _, given, _, means = entering
    exact = totals.dtype.element_ty
    tiles = above * tl.cdiv(along, KEYS)
    head, tile = (tl.program_id(0) // tiles).to(tl.int64), tl.program_id(0) % tiles
    asks, key, key_logits, rows, columns, value = of_head(factors, sizes, head, KEY_LOGITS)
    totals = begin(totals, head, queries, 1, inner)
    means = begin(means, head, queries, 1, inner)
    given = begin(given, head, queries, value_width, inner)
    _, _, _, to_keys = gradients_of_head(written, sizes, head)
    to_key, to_key_logits, to_value = to_keys
    row, column = tile % above, tile // above * KEYS + tl.arange(0, KEYS)
    there, place = column < along, row * along + column
    at = (place, there, inner)
    values = vectors(value, place, there, value_width, inner, VALUE_WIDTH)
    sums = tl.zeros((KEYS, VALUE_WIDTH), exact)
    spent = tl.zeros((KEYS, max(KEY_LOGITS, 1)), exact)
    theirs = vectors_if(key, place, there, width, inner, WIDTH, CONTENT)
    found = tl.zeros((KEYS, WIDTH), exact)
    start, stop = queries_within(sizes, row, FAR)
    for first in range(start, stop, QUERIES):
        query = first + tl.arange(0, QUERIES)
        asked = query < queries
        by_column = of_columns(columns, query, asked, column, along, nothing, value)
        by_row = of_row(rows, row, above, queries, query, asked, exact, ROWS)
        ours = vectors_if(asks, query, asked, width, inner, WIDTH, CONTENT)
        logits = of_pairs(by_column, ours, theirs, key_logits, at, CONTENT, KEY_LOGITS)
        leaving = vectors(given, query, asked, value_width, inner, VALUE_WIDTH)
        total = totals_of(totals, query, asked, inner, FAR)
        mean = tl.load(means + query * inner, mask=asked, other=0.0)
        leaving, mean = if_weighed(leaving, mean, total, FAR)
        weights = exp_of_difference(logits, (total - by_row)[:, None], FAR)
        sums += product(tl.trans(weights.to(leaving.dtype)), leaving, exact)
        of_logits = weights * (product(leaving, tl.trans(values), exact) - mean[:, None])
        if KEY_LOGITS:
            spent += sums_of_keys(of_logits, leaving.dtype, KEY_LOGITS)
        if CONTENT:
            found += product(tl.trans(of_logits.to(ours.dtype)), ours, exact)
    keep(to_value, sums, place, there, value_width, inner, VALUE_WIDTH)
    if KEY_LOGITS:
        keep(to_key_logits, spent, place, there, 1, inner, KEY_LOGITS)
    if CONTENT:
        keep(to_key, found, place, there, width, inner, WIDTH)
