"""Attention that never holds its weights: torch's own kernel for content, ours for the rest.

torch's kernel serves content terms that need the query's content and no position: E3 is E1 with
the bias u added to the query, (z' + u) . x', or a logit of each key, given as a mask. It has no
place for position logits but a mask for every pair, or channels of queries and keys (`augmented`),
which is the way on a GPU; on a CPU everything else is done by our blocks of queries.
"""

from dataclasses import replace
from typing import cast

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from quatrain.ops.attend import augmented
from quatrain.ops.attend.opaque import attend_by_blocks
from quatrain.ops.attend.plan import is_ordered, plan
from quatrain.ops.positions import Grid
from quatrain.ops.support import Support
from quatrain.ops.terms import Operands, content_asks, key_logits
from quatrain.specs import Term


def attend(
    terms: Term, operands: Operands, grid: Grid, support: Support
) -> Float[Tensor, "b h q e"]:
    """The weighted sum of values of each query; zeros where its support is empty.

    Source: Zhu et al. 2019, https://arxiv.org/abs/1904.05873, equation 2; Dao et al. 2022,
        https://arxiv.org/abs/2205.14135.
    """
    same = operands.key is not None and operands.key.shape[-1] == operands.value.shape[-1]
    device = operands.value.device.type
    chosen = plan(terms, grid, support.structure, "fused", device=device, equal_widths=same)
    if chosen.kernel == "augmented":
        return augmented.attend(terms, operands, grid, support)
    if chosen.kernel == "blocks":
        return attend_by_blocks(terms, operands, grid, support, product=False)
    return _by_sdpa(terms, operands, grid, support)


def _by_sdpa(
    terms: Term, operands: Operands, grid: Grid, support: Support
) -> Float[Tensor, "b h q e"]:
    ordered = is_ordered(grid, support.structure)
    mask = None if ordered else support.mask(grid, operands.value)
    if Term.KEY in terms and mask is None and not ordered and _may_be_a_mask(operands):
        # One logit for a key instead of a biased copy of all queries.
        mask = key_logits(terms, operands)[:, :, None]
        terms = Term.QUERY_KEY
    # plan chose it: E1 is on, and the kernel multiplies by the scale
    asks = cast(Tensor, content_asks(terms, replace(operands, scale=1.0)))
    key = cast(Tensor, operands.key)
    value = operands.value
    return scaled_dot_product_attention(
        asks.to(value.dtype),
        key.to(value.dtype),
        value,
        attn_mask=mask,
        is_causal=ordered,
        scale=operands.scale,
    )


def _may_be_a_mask(operands: Operands) -> bool:
    """Whether torch's kernel takes E3 as it is: not where gradients are wanted, nor rounded."""
    given = [operands.query, operands.key, operands.key_bias, operands.value]
    learns = torch.is_grad_enabled() and any(x is not None and x.requires_grad for x in given)
    value = operands.value
    return not learns and value.device.type == "cpu" and value.dtype.itemsize >= 4
