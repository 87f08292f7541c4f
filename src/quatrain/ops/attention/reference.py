"""Attention by the formula: all logits, a softmax over the support, a weighted sum.

This is the specification that every other method agrees with, for every term set, support and
shape. It stores one logit per query, head and key that the logits depend on. It computes in
float32, or float64, whatever the type of the operands.

Shapes: b batch, h heads, q queries, k keys, e width of a value.
"""

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn.functional import pad

from quatrain.ops.positions import expand_queries
from quatrain.ops.precision import autocast_disabled, upcast
from quatrain.ops.terms import AttentionInputs, logits, upcast_operands


def reference_attention(inputs: AttentionInputs) -> Float[Tensor, "b h q e"]:
    """The weighted sum of values of each query; zeros where its support is empty.

    Source: Zhu et al. 2019, https://arxiv.org/abs/1904.05873, equations 1, 2 and 8.
    """
    value = inputs.value
    with autocast_disabled(value):
        weights, values = attention_weights(inputs), upcast(value)
        return expand_queries(weights.to(values.dtype) @ values, inputs.grid).to(value.dtype)


def attention_weights(inputs: AttentionInputs) -> Float[Tensor, "#b h #q k"]:
    """The weights of each query over the keys; they sum to 1, or to 0 if the support is empty.

    With a null key they sum to less: the rest is the weight of that key.
    """
    _, heads, keys, _ = inputs.value.shape
    with autocast_disabled(inputs.value):
        scores = logits(inputs.terms, upcast_operands(inputs.operands), inputs.grid)
        mask = inputs.support.mask(inputs.grid, inputs.value)
        scores = scores.expand(-1, heads, -1, keys)
        return masked_softmax(scores, mask, null_key=inputs.support.null_key)


def masked_softmax(
    logits: Float[Tensor, "*logits k"],
    mask: Bool[Tensor, "*mask k"] | None,
    *,
    null_key: bool = False,
) -> Float[Tensor, "*broadcast k"]:
    """Softmax over the keys where `mask` is True; rows without any such key are zero.

    With a `null_key`, one more key of logit 0 takes part, and its weight is left out.

    Masked logits become the lowest finite number instead of minus infinity, so that the gradient
    of an empty row is zero and not NaN.
    """
    if null_key:
        mask = None if mask is None else pad(mask, (0, 1), value=True)
        return masked_softmax(pad(logits, (0, 1)), mask)[..., :-1]
    if mask is None:
        return logits.softmax(-1)
    lowest = torch.finfo(logits.dtype).min
    weights = torch.where(mask, logits, lowest).softmax(-1)
    return torch.where(mask, weights, 0.0)


def softmax_and_lse(
    logits: Float[Tensor, "*logits k"], mask: Bool[Tensor, "*mask k"] | None = None
) -> tuple[Float[Tensor, "*broadcast k"], Float[Tensor, "*broadcast"]]:
    """`masked_softmax` and the logsumexp over the same keys, from which several softmaxes combine.

    The weights over all keys are the weights within a group of keys times the softmax of lse over
    groups. Rows without any key have weights 0 and lse minus infinity, both with gradient 0.

    Source: Milakov and Gimelshein 2018, https://arxiv.org/abs/1805.02867, section 3.
    """
    if mask is None:
        return logits.softmax(-1), logits.logsumexp(-1)
    lowest = torch.finfo(logits.dtype).min
    lse = torch.where(mask, logits, lowest).logsumexp(-1)
    return masked_softmax(logits, mask), torch.where(mask.any(-1), lse, -torch.inf)
