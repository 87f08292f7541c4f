"""Attention that never holds its weights: torch's own kernel for content, ours for the rest.

torch's kernel serves content terms that need the query's content and no position: E3 is E1 with
the bias u added to the query, (z' + u) . x'. It has no place for position logits but a mask for
every pair, or channels of queries and keys (`augmented`). On a GPU a kernel of our own has
(`tiles`); channels serve where it cannot. Everything else is done by our blocks of queries.
"""

from dataclasses import replace
from typing import cast

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from quatrain.ops.attention import augmented
from quatrain.ops.attention.blockwise.operator import blockwise_attention
from quatrain.ops.attention.plan import is_gpu, is_plain_causal, plan_for_operands
from quatrain.ops.attention.triton.operator import triton_attention
from quatrain.ops.derivatives import (
    REFERENCE,
    refuse_nested_transforms,
    refuse_second_derivatives_of,
)
from quatrain.ops.positions import Grid, is_symbolic
from quatrain.ops.precision import autocast_disabled
from quatrain.ops.support import Support
from quatrain.ops.terms import Operands, biased_query, head_groups
from quatrain.specs import Term

LARGE = 2**19
"""Numbers of all queries from which a copy of them is most of the memory of torch's kernel."""


def attend(
    terms: Term, operands: Operands, grid: Grid, support: Support
) -> Float[Tensor, "b h q e"]:
    """The weighted sum of values of each query; zeros where its support is empty.

    Source: Zhu et al. 2019, https://arxiv.org/abs/1904.05873, equation 2; Dao et al. 2022,
        https://arxiv.org/abs/2205.14135.
    """
    chosen = plan_for_operands(terms, operands, grid, support, "fused")
    if chosen.kernel == "triton":
        return triton_attention(terms, operands, grid, support)
    if chosen.kernel == "augmented":
        return augmented.attend(terms, operands, grid, support)
    if chosen.kernel == "blockwise":
        return blockwise_attention(terms, operands, grid, support, product=False)
    ordered = is_plain_causal(grid, support.structure)
    mask = None if ordered else support.mask(grid, operands.value)
    query = cast(Tensor, operands.query)  # plan chose it: E1 is on
    if mask is not None or not terms.has(Term.KEY) or not _is_large(query, operands):
        return _by_sdpa(terms, operands, mask, ordered=ordered)
    mixed = torch.empty_like(query, dtype=operands.value.dtype)  # keys and values are as wide
    for head, part in enumerate(head_groups(operands, 1)):
        mixed[:, head : head + 1] = _by_sdpa(terms, part, None, ordered=ordered)
    return mixed


def _is_large(query: Tensor, operands: Operands) -> bool:
    """Whether a biased copy of all queries would be most of the memory, and need not be kept.

    Then that of one head is made at a time. Where gradients are wanted it is kept anyway.
    """
    given = [query, operands.key, operands.key_bias, operands.value]
    learns = torch.is_grad_enabled() and any(x is not None and x.requires_grad for x in given)
    if learns or query.device.type != "cpu" or is_symbolic(*query.shape):
        return False
    return query.numel() > LARGE


def _by_sdpa(
    terms: Term, operands: Operands, mask: Bool[Tensor, "#b #h #q k"] | None, *, ordered: bool
) -> Float[Tensor, "b h q e"]:
    # The kernel multiplies by the scale.
    asks = cast(Tensor, biased_query(terms, replace(operands, scale=1.0)))
    key = cast(Tensor, operands.key)
    value = operands.value
    wide = is_gpu(value.device.type)
    query, key, values = (
        augmented.as_kernels_take(x.to(value.dtype), wide=wide) for x in (asks, key, value)
    )
    refuse_nested_transforms((query, key, values), REFERENCE)
    with autocast_disabled(value), augmented.kernels_for(mask):
        mixed = scaled_dot_product_attention(
            query, key, values, attn_mask=mask, is_causal=ordered, scale=operands.scale
        )
    refuse_second_derivatives_of(mixed, REFERENCE)
    return mixed[..., : value.shape[-1]] if wide else mixed
