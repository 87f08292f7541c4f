"""Attention with positions on a map by kernels of a GPU: from operands to outputs, and back.

Tables come first (`tables`), with what each key has for all (`key_logits`); sums read them
(`mix_by_tiles`), which hold no number for a pair of a query and a key. By lines, logits are sums
over keys, rows and columns: every row of keys is an attention, then every column of queries, and
nothing is copied between the two (`separable` has the formula).

Shapes: b batch, h heads, q queries, k keys, e width of a value; t is b, or 1 where no query's
content is asked; r rows of keys times columns of queries, p parts of a logit.
"""

from dataclasses import dataclass
from typing import cast

from jaxtyping import Bool, Float
from torch import Tensor

from quatrain.ops.attention.triton.attention import EVERYWHERE, Band, Factors, gradients, mix
from quatrain.ops.attention.triton.key_bias import (
    gradients_of_key_logits,
    key_logits,
    like_key_logits,
    parts_of,
)
from quatrain.ops.attention.triton.position_bias import Call, Tables, gradients_of_tables, tables_of
from quatrain.ops.terms import Operands


@dataclass(frozen=True)
class Made:
    """The output, and what gradients are made of.

    `totals` are logarithms of what weights are divided by; `each_row` has the mean of values in a
    row of keys for a column of queries, by lines, and `row_totals` what weighs it.
    """

    mixed: Float[Tensor, "b h q e"]
    totals: Float[Tensor, "b h q"]
    rows: Float[Tensor, "t h _ _"]
    columns: Float[Tensor, "t h _ _"]
    asks: Float[Tensor, "b h q _"] | None = None
    key_logits: Float[Tensor, "b h k *p"] | None = None
    each_row: Float[Tensor, "b h r e"] | None = None
    row_totals: Float[Tensor, "b h r"] | None = None


def attend(call: Call, padding: Bool[Tensor, "#b k"] | None) -> Made:
    """The weighted sum of values of each query; zeros where its support is empty.

    Source: Zhu et al. 2019, https://arxiv.org/abs/1904.05873, equation 2, on a map.
    """
    tables = tables_of(call)
    logits = _key_logits(call, padding)
    if not call.axial:
        mixed, totals = mix(_of_pairs(call, tables, logits))
        return Made(mixed, totals, tables.rows, tables.columns, tables.asks, logits)
    each_row, row_totals = mix(_of_lines(call, tables, logits))
    mixed, totals = mix(_of_columns(call, tables, each_row, row_totals))
    return Made(
        mixed,
        totals,
        tables.rows,
        tables.columns,
        key_logits=logits,
        each_row=each_row,
        row_totals=row_totals,
    )


def like(call: Call, *, padded: bool) -> Made:
    """The shapes and types of what `attend` makes, of numbers that nobody wrote."""
    value, query = call.operands.value, call.operands.query
    batch, heads = value.shape[:2]
    rows, columns = (value.new_empty(shape, dtype=call.exact) for shape in call.shapes)
    queries = call.grid.queries[0] * call.grid.queries[1]
    asks = logits = each_row = row_totals = None
    if call.flags["QUERY_KEY"] and query is not None:
        asks = value.new_empty(query.shape)
    if padded or _weighed(call) is not None:
        logits = like_key_logits(value)
    if call.axial:
        between = call.grid.keys[0] * call.grid.queries[1]
        each_row = value.new_empty(batch, heads, between, value.shape[-1])
        row_totals = rows.new_empty(batch, heads, between)
    mixed = value.new_empty(batch, heads, queries, value.shape[-1])
    totals = rows.new_empty(batch, heads, queries)
    return Made(mixed, totals, rows, columns, asks, logits, each_row, row_totals)


def gradients_of(call: Call, made: Made, given: Float[Tensor, "b h q e"]) -> Operands:
    """The gradient of each operand, in its type; None where there is none."""
    tables = Tables(made.rows, made.columns, made.asks)
    if made.each_row is None or made.row_totals is None:
        found = gradients(_of_pairs(call, tables, made.key_logits), made.mixed, made.totals, given)
        to_rows = cast(Tensor, found.rows)
    else:
        last = _of_columns(call, tables, made.each_row, made.row_totals)
        after = gradients(last, made.mixed, made.totals, given)
        first = _of_lines(call, tables, made.key_logits)
        found = gradients(first, made.each_row, made.row_totals, after.value, after.key_logits)
        to_rows = after.columns
    back = gradients_of_tables(call, to_rows, found.columns, found.asks)
    operands, to_key, to_key_bias = call.operands, found.key, back.key_bias
    weighed = _weighed(call)
    if weighed is not None and found.key_logits is not None:
        to_key, to_key_bias = gradients_of_key_logits(found.key_logits, *weighed, operands.scale)
    if to_key is not None:
        to_key = to_key.to(cast(Tensor, operands.key).dtype)
    return Operands(found.value, back.query, to_key, to_key_bias, back.position_bias, back.relative)


def _key_logits(
    call: Call, padding: Bool[Tensor, "#b k"] | None
) -> Float[Tensor, "b h k *p"] | None:
    """E3 without E1, and padding; None where every key has the same for all queries."""
    operands = call.operands
    key, bias = _weighed(call) or (None, None)
    if padding is None and bias is None:
        return None
    return key_logits(operands.value, key, bias, padding, operands.scale)


def _weighed(call: Call) -> tuple[Float[Tensor, "b h k d"], Float[Tensor, "h d"]] | None:
    """Keys and the bias that asks for them, where no query does."""
    key, bias = call.operands.key, call.operands.key_bias
    if call.flags["QUERY_KEY"] or key is None or bias is None:
        return None
    return key, bias


def _of_pairs(call: Call, tables: Tables, logits: Float[Tensor, "b h k *p"] | None) -> Factors:
    """All queries and keys at once."""
    value, key = call.operands.value, call.operands.key
    key = None if tables.asks is None or key is None else key.to(value.dtype)
    band = EVERYWHERE
    if call.window is not None:
        band = Band(call.grid.queries[1], call.grid.key_stride, call.window // 2)
    return Factors(value, tables.columns, tables.rows, tables.asks, key, logits, band=band)


def _of_lines(call: Call, tables: Tables, logits: Float[Tensor, "b h k *p"] | None) -> Factors:
    """Each row of keys, for the columns of queries."""
    band = EVERYWHERE if call.window is None else Band(call.grid.queries[1], reach=0)
    outer = call.grid.keys[0]
    return Factors(call.operands.value, tables.columns, key_logits=logits, outer=outer, band=band)


def _of_columns(
    call: Call,
    tables: Tables,
    each_row: Float[Tensor, "b h r e"],
    row_totals: Float[Tensor, "b h r"],
) -> Factors:
    """Each column of queries, for the rows of keys, which have become one key each."""
    above, along = call.grid.queries
    band = EVERYWHERE if call.window is None else Band(above, reach=0)
    half = each_row.dtype.itemsize == 2
    logits = parts_of(row_totals) if half else row_totals
    return Factors(each_row, tables.rows, key_logits=logits, inner=along, band=band)
