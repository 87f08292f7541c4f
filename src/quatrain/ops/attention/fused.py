"""Attention that never holds all of its weights, by the kernel that `plan` names.

torch's kernel (`sdpa`) serves content terms with E1: E3 is E1 with the bias u added to the query,
(z' + u) . x'. It has no argument for position logits but a mask with a number per pair, or more
channels of queries and keys (`augmented`). On a GPU our Triton kernel takes position bias
directly; `augmented` serves where it cannot. The blockwise operator serves everything else.
"""

from dataclasses import replace
from typing import cast

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from quatrain.ops.attention.augmented import augmented_attention, pad_for_sdpa, sdpa_backends
from quatrain.ops.attention.blockwise.operator import blockwise_attention
from quatrain.ops.attention.plan import Kernel, is_gpu, is_plain_causal
from quatrain.ops.attention.triton.operator import triton_attention
from quatrain.ops.derivatives import (
    USE_REFERENCE,
    refuse_kernel_second_derivatives,
    refuse_nested_transforms,
)
from quatrain.ops.positions import Grid, is_symbolic
from quatrain.ops.precision import autocast_disabled
from quatrain.ops.support import Support
from quatrain.ops.terms import Operands, biased_query, head_groups
from quatrain.specs import Term

MAX_BIASED_NUMBERS = 2**19
"""Numbers of all queries up to which a biased copy of them is little beside the kernel's memory."""


def fused_attention(
    terms: Term, operands: Operands, grid: Grid, support: Support, kernel: Kernel | None
) -> Float[Tensor, "b h q e"]:
    """The weighted sum of values of each query; zeros where its support is empty.

    Source: Zhu et al. 2019, https://arxiv.org/abs/1904.05873, equation 2; Dao et al. 2022,
        https://arxiv.org/abs/2205.14135.
    """
    if kernel == "triton":
        return triton_attention(terms, operands, grid, support)
    if kernel == "augmented":
        return augmented_attention(terms, operands, grid, support)
    if kernel == "blockwise":
        return blockwise_attention(terms, operands, grid, support)
    causal = is_plain_causal(grid, support.structure)
    mask = None if causal else support.mask(grid, operands.value)
    query = cast(Tensor, operands.query)  # plan chose sdpa: E1 is on
    if mask is not None or not terms.has(Term.KEY) or not _saves_memory_by_head(query, operands):
        return _sdpa(terms, operands, mask, causal=causal)
    output = torch.empty_like(query, dtype=operands.value.dtype)  # keys and values are as wide
    for head, group in enumerate(head_groups(operands, 1)):
        output[:, head : head + 1] = _sdpa(terms, group, None, causal=causal)
    return output


def _saves_memory_by_head(query: Tensor, operands: Operands) -> bool:
    """Whether a biased copy of all queries would be most of the memory, and need not be kept.

    Then the copy of one head exists at a time. With gradients the whole copy is kept anyway.
    """
    tensors = [query, operands.key, operands.key_bias, operands.value]
    trains = torch.is_grad_enabled() and any(x is not None and x.requires_grad for x in tensors)
    if trains or query.device.type != "cpu" or is_symbolic(*query.shape):
        return False
    return query.numel() > MAX_BIASED_NUMBERS


def _sdpa(
    terms: Term, operands: Operands, mask: Bool[Tensor, "#b #h #q k"] | None, *, causal: bool
) -> Float[Tensor, "b h q e"]:
    # The kernel multiplies by the scale.
    query = cast(Tensor, biased_query(terms, replace(operands, scale=1.0)))
    key = cast(Tensor, operands.key)
    value = operands.value
    pads = is_gpu(value.device.type)
    query, key, values = (
        pad_for_sdpa(x.to(value.dtype), pad_width=pads) for x in (query, key, value)
    )
    refuse_nested_transforms((query, key, values), USE_REFERENCE)
    with autocast_disabled(value), sdpa_backends(mask):
        output = scaled_dot_product_attention(
            query, key, values, attn_mask=mask, is_causal=causal, scale=operands.scale
        )
    refuse_kernel_second_derivatives(output, USE_REFERENCE)
    return output[..., : value.shape[-1]] if pads else output
