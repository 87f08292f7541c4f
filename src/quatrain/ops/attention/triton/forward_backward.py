"""Attention with relative positions on a map by Triton kernels: forward and backward.

Position biases come first (`position_bias`), with the logits of each key (`key_logits`); the
attention kernels read them (`attention`), and store no number per query-key pair. In the axial
case logits are sums over keys, rows and columns: each row of keys is one attention, then each
column of queries, and nothing is copied between the two (`separable` has the formula).

Shapes: b batch, h heads, q queries, k keys, e width of a value; t is b, or 1 where no term depends
on the query's content; r rows of keys times columns of queries, p parts of a logit.
"""

from dataclasses import dataclass
from typing import cast

from jaxtyping import Bool, Float
from torch import Tensor

from quatrain.ops.attention.triton.attention import (
    UNLIMITED,
    Band,
    KernelInputs,
    attention_backward,
    attention_forward,
)
from quatrain.ops.attention.triton.key_logits import (
    empty_key_logits,
    masked_key_logits,
    masked_key_logits_backward,
    split_into_parts,
)
from quatrain.ops.attention.triton.position_bias import (
    AttentionCall,
    PositionBias,
    position_bias,
    position_bias_backward,
)
from quatrain.ops.terms import Operands


@dataclass(frozen=True)
class AttentionOutput:
    """The output, and the intermediate results that its gradients need.

    `lse` is the logsumexp of each query's logits. In the axial case `row_output` and `row_lse` are
    those of each row of keys, per column of queries.
    """

    output: Float[Tensor, "b h q e"]
    lse: Float[Tensor, "b h q"]
    row_bias: Float[Tensor, "t h _ _"]
    column_bias: Float[Tensor, "t h _ _"]
    query: Float[Tensor, "b h q _"] | None = None
    key_logits: Float[Tensor, "b h k *p"] | None = None
    row_output: Float[Tensor, "b h r e"] | None = None
    row_lse: Float[Tensor, "b h r"] | None = None


def forward(call: AttentionCall, padding: Bool[Tensor, "#b k"] | None) -> AttentionOutput:
    """The weighted sum of values of each query; zeros where its support is empty.

    Source: Zhu et al. 2019, https://arxiv.org/abs/1904.05873, equation 2, on a map.
    """
    bias, value = position_bias(call), call.operands.value
    key, vector = _key_and_vector(call) or (None, None)
    logits = None
    if padding is not None or vector is not None:
        logits = masked_key_logits(value, key, vector, padding, call.operands.scale)
    if not call.axial:
        output, lse = attention_forward(_all_pairs(call, bias, logits))
        return AttentionOutput(output, lse, bias.rows, bias.columns, bias.query, logits)
    row_output, row_lse = attention_forward(_rows_of_keys(call, bias, logits))
    output, lse = attention_forward(_columns_of_queries(call, bias, row_output, row_lse))
    return AttentionOutput(output, lse, bias.rows, bias.columns, None, logits, row_output, row_lse)


def empty_output(call: AttentionCall, *, padded: bool) -> AttentionOutput:
    """Uninitialized tensors with the shapes and types of the result of `forward`."""
    value, query = call.operands.value, call.operands.query
    batch, heads = value.shape[:2]
    row_bias, column_bias = (value.new_empty(shape, dtype=call.exact) for shape in call.shapes)
    queries = call.grid.queries[0] * call.grid.queries[1]
    biased = logits = row_output = row_lse = None
    if call.flags["QUERY_KEY"] and query is not None:
        biased = value.new_empty(query.shape)
    if padded or _key_and_vector(call) is not None:
        logits = empty_key_logits(value)
    if call.axial:
        between = call.grid.keys[0] * call.grid.queries[1]
        row_output = value.new_empty(batch, heads, between, value.shape[-1])
        row_lse = row_bias.new_empty(batch, heads, between)
    output = value.new_empty(batch, heads, queries, value.shape[-1])
    lse = row_bias.new_empty(batch, heads, queries)
    return AttentionOutput(output, lse, row_bias, column_bias, biased, logits, row_output, row_lse)


def backward(
    call: AttentionCall, result: AttentionOutput, grad_output: Float[Tensor, "b h q e"]
) -> Operands:
    """The gradient of each operand, in its type; None where there is no operand."""
    bias = PositionBias(result.row_bias, result.column_bias, result.query)
    if result.row_output is None or result.row_lse is None:
        inputs = _all_pairs(call, bias, result.key_logits)
        grads = attention_backward(inputs, result.output, result.lse, grad_output)
        grad_row_bias = cast(Tensor, grads.row_bias)
    else:
        second = _columns_of_queries(call, bias, result.row_output, result.row_lse)
        of_rows = attention_backward(second, result.output, result.lse, grad_output)
        first = _rows_of_keys(call, bias, result.key_logits)
        grads = attention_backward(
            first, result.row_output, result.row_lse, of_rows.value, of_rows.key_logits
        )
        grad_row_bias = of_rows.column_bias
    others = position_bias_backward(call, grad_row_bias, grads.column_bias, grads.query)
    operands, grad_key, grad_vector = call.operands, grads.key, others.content_vector
    key_and_vector = _key_and_vector(call)
    if key_and_vector is not None and grads.key_logits is not None:
        grad_key, grad_vector = masked_key_logits_backward(
            grads.key_logits, *key_and_vector, operands.scale
        )
    if grad_key is not None:
        grad_key = grad_key.to(cast(Tensor, operands.key).dtype)
    return Operands(
        grads.value, others.query, grad_key, grad_vector, others.position_vector, others.relative
    )


def _key_and_vector(
    call: AttentionCall,
) -> tuple[Float[Tensor, "b h k d"], Float[Tensor, "h d"]] | None:
    """Key and content vector, where E3 is on and E1 is off: they have logits of their own."""
    key, vector = call.operands.key, call.operands.content_vector
    if call.flags["QUERY_KEY"] or key is None or vector is None:
        return None
    return key, vector


def _all_pairs(
    call: AttentionCall, bias: PositionBias, logits: Float[Tensor, "b h k *p"] | None
) -> KernelInputs:
    """One attention from all queries to all keys."""
    value, key = call.operands.value, call.operands.key
    key = None if bias.query is None or key is None else key.to(value.dtype)
    band = UNLIMITED
    if call.window is not None:
        band = Band(call.grid.queries[1], call.grid.key_stride, call.window // 2)
    return KernelInputs(value, bias.columns, bias.rows, bias.query, key, logits, band=band)


def _rows_of_keys(
    call: AttentionCall, bias: PositionBias, logits: Float[Tensor, "b h k *p"] | None
) -> KernelInputs:
    """One attention per row of keys, from the columns of queries."""
    band = UNLIMITED if call.window is None else Band(call.grid.queries[1], reach=0)
    rows = call.grid.keys[0]
    return KernelInputs(call.operands.value, bias.columns, key_logits=logits, outer=rows, band=band)


def _columns_of_queries(
    call: AttentionCall,
    bias: PositionBias,
    row_output: Float[Tensor, "b h r e"],
    row_lse: Float[Tensor, "b h r"],
) -> KernelInputs:
    """One attention per column of queries, to the rows of keys, each reduced to one key."""
    height, width = call.grid.queries
    band = UNLIMITED if call.window is None else Band(height, reach=0)
    half = row_output.dtype.itemsize == 2
    logits = split_into_parts(row_lse) if half else row_lse
    return KernelInputs(row_output, bias.rows, key_logits=logits, inner=width, band=band)
