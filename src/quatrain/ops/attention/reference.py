"""Attention by the formula: all logits, a softmax over the support, a weighted sum.

This is the specification that every other method agrees with. It serves every term set, support
and shape, and holds one logit per query, head and key that the logits depend on. It computes in
float32, or float64, whatever the type of the operands.

Shapes: b batch, h heads, q queries, k keys, e width of a value.
"""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from quatrain.ops.positions import Grid, expand_queries
from quatrain.ops.precision import autocast_disabled, upcast
from quatrain.ops.support import Support
from quatrain.ops.terms import Operands, logits, upcast_operands
from quatrain.specs import Term


def reference_attention(
    terms: Term, operands: Operands, grid: Grid, support: Support
) -> Float[Tensor, "b h q e"]:
    """The weighted sum of values of each query; zeros where its support is empty.

    Source: Zhu et al. 2019, https://arxiv.org/abs/1904.05873, equations 1, 2 and 8.
    """
    value = operands.value
    with autocast_disabled(value):
        weights = attention_weights(terms, operands, grid, support)
        values = upcast(value)
        return expand_queries(weights.to(values.dtype) @ values, grid).to(value.dtype)


def attention_weights(
    terms: Term, operands: Operands, grid: Grid, support: Support
) -> Float[Tensor, "#b h #q k"]:
    """The weights of each query over the keys; they sum to 1, or to 0 if the support is empty."""
    _, heads, keys, _ = operands.value.shape
    with autocast_disabled(operands.value):
        scores = logits(terms, upcast_operands(operands), grid).expand(-1, heads, -1, keys)
        return masked_softmax(scores, support.mask(grid, operands.value))


def masked_softmax(
    logits: Float[Tensor, "*logits k"], mask: Bool[Tensor, "*mask k"] | None
) -> Float[Tensor, "*broadcast k"]:
    """Softmax over the keys where `mask` is True; rows without any such key are zero.

    Masked logits become the lowest finite number instead of minus infinity, so that the gradient
    of an empty row is zero and not NaN.
    """
    if mask is None:
        return logits.softmax(-1)
    lowest = torch.finfo(logits.dtype).min
    weights = torch.where(mask, logits, lowest).softmax(-1)
    return torch.where(mask, weights, 0.0)
