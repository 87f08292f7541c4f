"""Attention on a map as one dot product: position logits become channels of queries and keys.

The position logits of a pair are by[q, ky] + bx[q, kx]: the product of the position biases of the
query, side by side, with a vector that is 1 at the key's row and column. Appended to content,

    [query; by(q, :); bx(q, :)] . [key; onehot(ky); onehot(kx)],

they let torch's own kernel, which takes content only, compute everything. Queries and keys grow by
the height and the width of the map of keys, so it pays where such a kernel is much faster than
blocks of queries: on a GPU.

Shapes: b batch, h heads, q queries, k keys, d width of a head, e width of a value, w all channels.
"""

import math
from contextlib import AbstractContextManager, nullcontext
from typing import cast

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.functional import one_hot, pad, scaled_dot_product_attention

from quatrain.ops.compilation import assume_constant_result
from quatrain.ops.derivatives import (
    USE_REFERENCE,
    check_kernel_second_derivatives,
    check_transforms,
)
from quatrain.ops.precision import autocast_disabled
from quatrain.ops.terms import (
    AttentionInputs,
    content_operands,
    key_logits,
    position_biases,
    position_operands,
)
from quatrain.specs import Term

WIDTH_MULTIPLE = 8
"""torch's GPU kernels take widths that are multiples of this."""


def augmented_attention(inputs: AttentionInputs) -> Float[Tensor, "b h q e"]:
    """The weighted sum of values of each query; zeros where its support is empty.

    Position biases are computed in float32 and rounded to the type of the operands.

    Source: Zhu et al. 2019, https://arxiv.org/abs/1904.05873, equation 2, on a map.
    """
    value = inputs.value
    with autocast_disabled(value):
        query, key = augmented_query_key(inputs.upcast())
    mask = inputs.support.key_mask(inputs.grid, value.shape[0])
    check_transforms((query, key, value), USE_REFERENCE, order=1, vmap=True)
    query, key, values = (
        pad_for_sdpa(x.to(value.dtype), pad_width=True) for x in (query, key, value)
    )
    if inputs.support.null_key:
        key, values, mask = append_null_key(key, values, mask)
    with autocast_disabled(value), sdpa_backends(mask):
        output = scaled_dot_product_attention(query, key, values, attn_mask=mask, scale=1.0)
    check_kernel_second_derivatives(output, USE_REFERENCE)
    output = output[..., : value.shape[-1]]
    return output if mask is None else torch.where(mask.any(-1, keepdim=True), output, 0.0)


def sdpa_backends(
    mask: Bool[Tensor, "#b #h #q k"] | Float[Tensor, "b h 1 k"] | None,
) -> AbstractContextManager[object]:
    """With a mask, exclude cuDNN from the kernels that torch may use.

    Its gradients of queries are NaN for some numbers of keys where logits are far below zero:
    https://github.com/pytorch/pytorch/issues/196678.
    """
    if mask is None:
        return nullcontext()
    kernels = (SDPBackend.FLASH_ATTENTION, SDPBackend.EFFICIENT_ATTENTION, SDPBackend.MATH)
    backends = [x for x, enabled in zip(kernels, _enabled_backends(), strict=True) if enabled]
    return sdpa_kernel(backends) if backends else nullcontext()


@assume_constant_result
def _enabled_backends() -> tuple[bool, bool, bool]:
    """Whether flash attention, memory-efficient attention and the formula are enabled."""
    cuda = torch.backends.cuda
    return cuda.flash_sdp_enabled(), cuda.mem_efficient_sdp_enabled(), cuda.math_sdp_enabled()


def pad_for_sdpa(x: Float[Tensor, "b h n d"], *, pad_width: bool) -> Float[Tensor, "b h n w"]:
    """Make the last axis contiguous and, if `pad_width`, a multiple of `WIDTH_MULTIPLE`.

    Otherwise torch silently falls back to a matrix of all pairs: on a GPU for either reason, on a
    CPU for the first.
    """
    missing = -x.shape[-1] % WIDTH_MULTIPLE if pad_width else 0
    if missing:
        return pad(x, (0, missing))
    return x if x.stride(-1) == 1 else x.contiguous()


def append_null_key(
    key: Float[Tensor, "b h n w"],
    value: Float[Tensor, "b h n e"],
    mask: Bool[Tensor, "#b #h #q n"] | None,
    *,
    first: bool = False,
) -> tuple[Float[Tensor, "b h m w"], Float[Tensor, "b h m e"], Bool[Tensor, "#b #h #q m"] | None]:
    """One more key and value of zeros, allowed to all queries: the last, or the first.

    Source: Xiao et al. 2023, https://arxiv.org/abs/2309.17453, section 3.3.
    """
    before = int(first)
    key, value = (pad(x, (0, 0, before, 1 - before)) for x in (key, value))
    return key, value, None if mask is None else pad(mask, (before, 1 - before), value=True)


def augmented_query_key(
    inputs: AttentionInputs,
) -> tuple[Float[Tensor, "b h q w"], Float[Tensor, "b h k w"]]:
    """Queries and keys whose dot products are all logits of the terms."""
    terms, operands, value = inputs.terms, inputs.operands, inputs.value
    lead, keys, queries = value.shape[:2], value.shape[2], math.prod(inputs.grid.queries)
    query_parts: list[Tensor] = []
    key_parts: list[Tensor] = []
    if terms.has(Term.QUERY_KEY):
        query, key = cast("tuple[Tensor, Tensor]", content_operands(terms, operands))
        query_parts.append(query)
        key_parts.append(key)
    elif terms.has(Term.KEY):
        key_parts.append(key_logits(terms, operands)[..., None])
        query_parts.append(torch.ones_like(key_parts[0][:, :, :1]))
    position = position_operands(terms, operands)
    if position is not None:
        query_parts += position_biases(*position, inputs.grid)
        height, width = inputs.grid.keys
        rows = torch.arange(height, device=value.device).repeat_interleave(width)
        columns = torch.arange(width, device=value.device).repeat(height)
        key_parts += [
            one_hot(rows, height).to(value.dtype),
            one_hot(columns, width).to(value.dtype),
        ]
    width = sum(part.shape[-1] for part in query_parts)
    padding = value.new_zeros(1, 1, 1, -width % WIDTH_MULTIPLE if width else WIDTH_MULTIPLE)
    return (
        torch.cat([part.expand(*lead, queries, -1) for part in (*query_parts, padding)], dim=-1),
        torch.cat([part.expand(*lead, keys, -1) for part in (*key_parts, padding)], dim=-1),
    )
