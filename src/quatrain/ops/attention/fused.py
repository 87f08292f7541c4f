"""Attention that never stores all of its weights, by the kernel that `plan` names.

torch's kernel (`sdpa`) computes content terms with E1: E3 is E1 with the vector u added to the
query, (z' + u) . x'; if E1 has keys of its own, E3 is one more channel, or a mask. The kernel has
no argument for position logits but a mask with a number per pair, or more channels of queries and
keys (`augmented`). On a GPU our Triton kernel takes position bias directly, and `augmented`
computes what it cannot. The blockwise operator computes everything else.

For torch's kernel a null key is one more key and value of zeros. Where it is causal, that is the
first key, and the first query, which attends to nothing else, is dropped.
"""

from dataclasses import replace
from typing import cast

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn.functional import pad, scaled_dot_product_attention

from quatrain.ops.attention.augmented import (
    append_null_key,
    augmented_attention,
    pad_for_sdpa,
    sdpa_backends,
)
from quatrain.ops.attention.blockwise.operator import blockwise_attention
from quatrain.ops.attention.plan import Kernel, is_gpu, is_plain_causal
from quatrain.ops.attention.triton.operator import triton_attention
from quatrain.ops.derivatives import (
    USE_REFERENCE,
    check_kernel_second_derivatives,
    check_transforms,
)
from quatrain.ops.positions import is_symbolic
from quatrain.ops.precision import autocast_disabled
from quatrain.ops.terms import AttentionInputs, content_operands, key_logits
from quatrain.specs import Term

MAX_BIASED_NUMBERS = 2**19
"""Up to this many numbers, a biased copy of all queries is small for the kernel's memory."""


def fused_attention(inputs: AttentionInputs, kernel: Kernel | None) -> Float[Tensor, "b h q e"]:
    """The weighted sum of values of each query; zeros where its support is empty.

    Source: Zhu et al. 2019, https://arxiv.org/abs/1904.05873, equation 2; Dao et al. 2022,
        https://arxiv.org/abs/2205.14135.
    """
    if kernel == "triton":
        return triton_attention(inputs)
    if kernel == "augmented":
        return augmented_attention(inputs)
    if kernel == "blockwise":
        return blockwise_attention(inputs)
    causal = is_plain_causal(inputs.grid, inputs.support.structure)
    mask = None if causal else inputs.support.mask(inputs.grid, inputs.value)
    if mask is not None or not inputs.terms.has(Term.KEY) or not _saves_memory_by_head(inputs):
        return _sdpa(inputs, mask, causal=causal)
    query = cast(Tensor, inputs.operands.query)  # plan chose sdpa: E1 is on
    output = torch.empty_like(query, dtype=inputs.value.dtype)  # keys and values are as wide
    for head, group in enumerate(inputs.head_groups(1)):
        output[:, head : head + 1] = _sdpa(group, None, causal=causal)
    return output


def _saves_memory_by_head(inputs: AttentionInputs) -> bool:
    """Whether a biased copy of all queries would be most of the memory, and need not be kept.

    Then the copy of one head exists at a time. With gradients the whole copy is kept anyway.
    """
    x = inputs.operands
    if not x.shares_keys:
        return False
    query = cast(Tensor, x.query)
    tensors = (query, x.key, x.content_vector, x.value)
    if _trains(*tensors) or query.device.type != "cpu" or is_symbolic(*query.shape):
        return False
    return query.numel() > MAX_BIASED_NUMBERS


def _takes_key_logits(inputs: AttentionInputs) -> bool:
    """Whether E3 can be a mask of numbers, which is faster than one more channel.

    With gradients of the mask torch would store the weights of all pairs.
    """
    x = inputs.operands
    if x.shares_keys or not inputs.terms.has(Term.KEY) or inputs.support.null_key:
        return False
    if inputs.value.device.type != "cpu":
        return False
    return not _trains(x.paired_query, x.paired_key, x.key, x.key_logit, x.content_vector, x.value)


def _trains(*tensors: Tensor | None) -> bool:
    return torch.is_grad_enabled() and any(x is not None and x.requires_grad for x in tensors)


def _sdpa(
    inputs: AttentionInputs, mask: Bool[Tensor, "#b #h #q k"] | None, *, causal: bool
) -> Float[Tensor, "b h q e"]:
    operands, value, terms = inputs.operands, inputs.value, inputs.terms
    if mask is None and not causal and _takes_key_logits(inputs):
        mask = key_logits(terms, operands)[:, :, None].to(value.dtype)
        terms &= ~Term.KEY
    # The kernel multiplies by the scale; plan chose it, so E1 is on.
    content = content_operands(terms, replace(operands, scale=1.0))
    query, key = cast("tuple[Tensor, Tensor]", content)
    width = value.shape[-1]
    if key.shape[-1] > width:  # a channel for E3; torch's kernels take values of the same width
        value = pad(value, (0, key.shape[-1] - width))
    pads = is_gpu(value.device.type)
    query, key, values = (
        pad_for_sdpa(x.to(value.dtype), pad_width=pads) for x in (query, key, value)
    )
    null_key = inputs.support.null_key
    if null_key:
        key, values, mask = append_null_key(key, values, mask, first=causal)
        query = pad(query, (0, 0, 1, 0)) if causal else query
    check_transforms((query, key, values, mask), USE_REFERENCE, order=1, vmap=True)
    with autocast_disabled(value), sdpa_backends(mask):
        output = scaled_dot_product_attention(
            query, key, values, attn_mask=mask, is_causal=causal, scale=operands.scale
        )
    check_kernel_second_derivatives(output, USE_REFERENCE)
    output = output[:, :, 1:] if null_key and causal else output
    return output if output.shape[-1] == width else output[..., :width]
