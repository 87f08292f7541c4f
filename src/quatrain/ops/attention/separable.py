"""Attention on a map whose logits are a sum over keys, rows and columns: one axis, then the other.

It computes 0001 and 0011, and 0000 and 0010 in a window. The logit of a query at (qy, qx) and a key
at (ky, kx) is E3[ky, kx] + bx[qx, kx] + by[qy, ky]. Summing over kx first leaves, for every row of
keys and column of queries, a mean of values and a logsumexp

    lse[ky, qx] = log sum_kx exp(E3[ky, kx] + bx[qx, kx])

and a softmax over ky of lse + by finishes, in which a null key is one more row. No number per
query-key pair is ever stored, and every exponential is of a difference to its maximum. On a CPU
only as many heads are computed at once as the cache has room for. On a GPU a Triton kernel computes
either sum.

Shapes: b batch, h heads, y v rows of queries and of keys, x u columns of queries and of keys,
q queries, k keys, d width of a key, e width of a value.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from quatrain.ops.attention.plan import Kernel
from quatrain.ops.attention.reference import masked_softmax, softmax_and_lse
from quatrain.ops.attention.triton.operator import triton_attention
from quatrain.ops.positions import Grid, align_to_keys, is_symbolic
from quatrain.ops.precision import autocast_disabled
from quatrain.ops.terms import AttentionInputs, key_logits, position_operands
from quatrain.specs import Term

MAX_WEIGHTS = 2**19
"""The cache has room for this many weights over rows and columns; one head may exceed it."""


def separable_attention(
    inputs: AttentionInputs, kernel: Kernel | None = None
) -> Float[Tensor, "b h q e"]:
    """The weighted sum of values of each query; zeros where its support is empty.

    Source: Zhu et al. 2019, https://arxiv.org/abs/1904.05873, equations 2 and 8.
    """
    if kernel == "triton":
        return triton_attention(inputs, axial=True)
    value = inputs.value
    with autocast_disabled(value):
        groups = inputs.upcast().head_groups(_heads_in_turn(inputs.grid, value))
        outputs = [_axial_attention(group) for group in groups]
        return (outputs[0] if len(outputs) == 1 else torch.cat(outputs, dim=1)).to(value.dtype)


def heads_at_once(grid: Grid, batch: int, heads: int) -> int:
    """How many heads have about `MAX_WEIGHTS` weights over rows and columns together."""
    (height, width), (rows, columns) = grid.queries, grid.keys
    weights = batch * width * rows * (columns + height)
    return max(1, min(heads, MAX_WEIGHTS // max(weights, 1)))


def _heads_in_turn(grid: Grid, value: Float[Tensor, "b h k e"]) -> int:
    batch, heads = value.shape[:2]
    if value.device.type != "cpu" or is_symbolic(batch, *grid.queries, *grid.keys):
        return heads
    return heads_at_once(grid, batch, heads)


def _axial_attention(inputs: AttentionInputs) -> Float[Tensor, "b h q e"]:
    grid, support = inputs.grid, inputs.support
    value = inputs.value.unflatten(2, grid.keys)
    row_bias, column_bias = (_axis_bias(inputs, axis) for axis in (0, 1))
    row_mask = column_mask = None
    if support.window is not None:
        row_mask, column_mask = (
            support.axis_mask(grid, axis, value.device)[None, None, None] for axis in (0, 1)
        )
    key_mask = support.key_mask(grid, value.shape[0])
    if key_mask is not None:
        key_mask = key_mask.unflatten(3, grid.keys).transpose(2, 3)  # (b, 1, v, 1, u)
        column_mask = key_mask if column_mask is None else key_mask & column_mask
    logits = column_bias
    if inputs.terms.has(Term.KEY):
        by_key = key_logits(inputs.terms, inputs.operands).unflatten(2, grid.keys)
        logits = logits + by_key[..., None, :]
    weights, lse = softmax_and_lse(logits, column_mask)
    means = weights @ value  # (b, h, v, x, e)
    logits = row_bias
    if lse.shape[2] > 1 or support.null_key:  # rows of keys differ in more than their place
        lse = lse.mT.contiguous()[..., None, :]
        logits = row_bias + lse
        if column_mask is not None:  # else no row of keys is empty
            filled = lse > -torch.inf
            row_mask = filled if row_mask is None else row_mask & filled
    weights = masked_softmax(logits, row_mask, null_key=support.null_key)
    return (weights @ means.transpose(2, 3)).transpose(2, 3).flatten(2, 3)


def _axis_bias(inputs: AttentionInputs, axis: int) -> Float[Tensor, "1 #h 1 q_axis k_axis"]:
    """Position logits along one axis; zeros without position terms."""
    position = position_operands(inputs.terms, inputs.operands)
    queries, keys = inputs.grid.queries[axis], inputs.grid.keys[axis]
    if position is None:
        return inputs.value.new_zeros(1, 1, 1, queries, keys)
    query, relative = position
    scores = torch.einsum("bhqd,hld->bhql", query, relative[axis])
    line = Grid((queries,), (keys,), inputs.grid.key_stride)
    return align_to_keys(scores.expand(-1, -1, queries, -1), line, 0)[:, :, None]
