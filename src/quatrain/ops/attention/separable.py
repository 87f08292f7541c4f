"""Attention on a map whose logits are a sum over keys, rows and columns: one axis after the other.

It serves 0001 and 0011, and 0000 and 0010 in a window. The logit of a query at (qy, qx) and a key
at (ky, kx) is E3[ky, kx] + ex[qx, kx] + ey[qy, ky]. Summing over kx first leaves, for every row of
keys and column of queries, a mean of values and a total

    m[ky, qx] = log sum_kx exp(E3[ky, kx] + ex[qx, kx])

and a softmax over ky of m + ey finishes. No pair of query and key is ever held, and every
exponential is of a difference to its maximum. On a CPU few heads are done at a time, so that a
cache holds what they make, and their gradients make. On a GPU a kernel takes either sum.

Shapes: b batch, h heads, y v rows of queries and of keys, x u columns of queries and of keys,
q queries, k keys, d e widths.
"""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from quatrain.ops.attention.plan import plan_for_operands
from quatrain.ops.attention.reference import masked_softmax
from quatrain.ops.attention.softmax_lse import softmax_and_lse
from quatrain.ops.attention.triton.operator import triton_attention
from quatrain.ops.positions import Grid, align, is_symbolic
from quatrain.ops.precision import autocast_disabled
from quatrain.ops.support import Support
from quatrain.ops.terms import Operands, head_groups, key_logits, position_query, upcast_operands
from quatrain.specs import Term

CELLS = 2**19
"""Weights over rows and columns that are made at once, as far as one head allows: a cache holds
them."""


def attend(
    terms: Term, operands: Operands, grid: Grid, support: Support
) -> Float[Tensor, "b h q e"]:
    """The weighted sum of values of each query; zeros where its support is empty.

    Source: Zhu et al. 2019, https://arxiv.org/abs/1904.05873, equations 2 and 8.
    """
    value = operands.value
    if plan_for_operands(terms, operands, grid, support, "separable").kernel == "triton":
        return triton_attention(terms, operands, grid, support, axial=True)
    with autocast_disabled(value):
        mixed = [
            _by_axis(terms, part, grid, support)
            for part in head_groups(upcast_operands(operands), _heads_in_turn(grid, value))
        ]
        return (mixed[0] if len(mixed) == 1 else torch.cat(mixed, dim=1)).to(value.dtype)


def heads_at_once(grid: Grid, batch: int, heads: int) -> int:
    """How many heads have weights over rows and columns of about `CELLS` together."""
    (above, along), (rows, columns) = grid.queries, grid.keys
    cells = batch * along * rows * (columns + above)
    return max(1, min(heads, CELLS // max(cells, 1)))


def _heads_in_turn(grid: Grid, value: Float[Tensor, "b h k e"]) -> int:
    batch, heads = value.shape[:2]
    if value.device.type != "cpu" or is_symbolic(batch, *grid.queries, *grid.keys):
        return heads
    return heads_at_once(grid, batch, heads)


def _by_axis(
    terms: Term, operands: Operands, grid: Grid, support: Support
) -> Float[Tensor, "b h q e"]:
    value = operands.value.unflatten(2, grid.keys)
    by_row, by_column = (_table(terms, operands, grid, axis) for axis in (0, 1))
    rows, columns = (_kept_along(grid, support, axis, value) for axis in (0, 1))
    kept = support.key_mask(grid, value.shape[0])
    if kept is not None:
        kept = kept.unflatten(3, grid.keys).transpose(2, 3)  # (b, 1, v, 1, u)
        columns = kept if columns is None else kept & columns
    scores = by_column
    if terms.has(Term.KEY):
        scores = scores + key_logits(terms, operands).unflatten(2, grid.keys)[..., None, :]
    weights, totals = softmax_and_lse(scores, columns)
    mixed = weights @ value  # (b, h, v, x, e)
    scores = by_row
    if totals.shape[2] > 1:  # rows of keys differ in more than their place
        totals = totals.mT.contiguous()[..., None, :]
        scores = by_row + totals
        if columns is not None:  # else no row of keys is empty
            filled = totals > -torch.inf
            rows = filled if rows is None else rows & filled
    weights = masked_softmax(scores, rows)
    return (weights @ mixed.transpose(2, 3)).transpose(2, 3).flatten(2, 3)


def _table(
    terms: Term, operands: Operands, grid: Grid, axis: int
) -> Float[Tensor, "1 #h 1 q_axis k_axis"]:
    """Position logits along one axis."""
    asks = position_query(terms, operands)
    queries, keys = grid.queries[axis], grid.keys[axis]
    if asks is None:
        return operands.value.new_zeros(1, 1, 1, queries, keys)
    scores = torch.einsum("bhqd,hld->bhql", asks, operands.relative[axis])
    line = Grid((queries,), (keys,), grid.key_stride)
    return align(scores.expand(-1, -1, queries, -1), line, 0)[:, :, None]


def _kept_along(
    grid: Grid, support: Support, axis: int, value: Float[Tensor, "b h v u e"]
) -> Bool[Tensor, "1 1 1 q_axis k_axis"] | None:
    """What a window keeps along one axis; None where there is no window."""
    if support.window is None:
        return None
    return support.axis_mask(grid, axis, value.device)[None, None, None]
