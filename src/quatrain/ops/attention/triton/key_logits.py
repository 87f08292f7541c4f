"""The logits of each key that are the same for all queries, by Triton kernels: E3, and padding.

Shapes: b batch, h heads, k keys, d width of a key, p parts of a logit; #b is 1 where all batch
elements share their padding.
"""

from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from quatrain.ops.attention.triton.position_bias import MASK_VALUE

PARTS, PARTS_DTYPE = 16, torch.bfloat16
"""Where operands have 16 bits, a key's logit becomes a sum of this many numbers, of this type,
which has the range of float32."""

TILE = 64
"""Keys per program."""

SPLIT_TILE = 256
"""Numbers that a program splits into parts."""


def masked_key_logits(
    value: Float[Tensor, "b h k e"],
    key: Float[Tensor, "b h k d"] | None,
    bias: Float[Tensor, "h d"] | None,
    padding: Bool[Tensor, "#b k"] | None,
    scale: float,
) -> Float[Tensor, "b h k *p"]:
    """Logits of keys, masked at padding; in 16 bits, the parts that they are sums of.

    Without a key and its bias they are zeros.

    Source: Zhu et al. 2019, https://arxiv.org/abs/1904.05873, equation 2, the term E3.
    """
    from quatrain.ops.attention.triton import key_logits_kernels as kernels

    batch, heads, keys, _ = value.shape
    width = 1 if key is None else key.shape[-1]
    logits = empty_key_logits(value)
    if logits.numel():
        kernel: Any = kernels.key_logits_kernel
        kernel[(-(-keys // TILE) * batch * heads,)](
            value if key is None else key,
            value if bias is None else bias,
            value if padding is None else padding,
            logits,
            (keys, width, heads, 1 if padding is None else padding.shape[0]),
            KEYS=TILE,
            WIDTH=1 << (width - 1).bit_length(),
            SCALE=scale,
            HAS_BIAS=bias is not None,
            HAS_PADDING=padding is not None,
            PARTS=PARTS if logits.ndim == 4 else 1,
            MASK_VALUE=MASK_VALUE,
        )
    return logits


def empty_key_logits(value: Float[Tensor, "b h k e"]) -> Float[Tensor, "b h k *p"]:
    """An uninitialized tensor with the shape and type of the logits of keys."""
    if value.dtype.itemsize == 2:
        return value.new_empty(*value.shape[:3], PARTS, dtype=PARTS_DTYPE)
    return value.new_empty(value.shape[:3])


def masked_key_logits_backward(
    grad_logits: Float[Tensor, "b h k"],
    key: Float[Tensor, "b h k d"],
    bias: Float[Tensor, "h d"],
    scale: float,
) -> tuple[Float[Tensor, "b h k d"], Float[Tensor, "h d"]]:
    """The gradients of keys and of the bias.

    Source: Zhu et al. 2019, https://arxiv.org/abs/1904.05873, equation 2, the term E3.
    """
    from quatrain.ops.attention.triton import key_logits_kernels as kernels

    batch, heads, keys, width = key.shape
    tiles = -(-keys // TILE)
    grad_key = torch.empty_like(key)
    grad_bias = grad_logits.new_empty(tiles, batch, heads, width)
    if key.numel():
        kernel: Any = kernels.key_logits_grads_kernel
        kernel[(tiles * batch * heads,)](
            grad_logits,
            key,
            bias,
            grad_key,
            grad_bias,
            (keys, width, heads, 1),
            KEYS=TILE,
            WIDTH=1 << (width - 1).bit_length(),
            SCALE=scale,
        )
    return grad_key, grad_bias.sum((0, 1)).to(bias.dtype)


def split_into_parts(x: Float[Tensor, "b h k"]) -> Float[Tensor, "b h k p"]:
    """Three parts of 8 bits each that add up to a number, and zeros."""
    from quatrain.ops.attention.triton import key_logits_kernels as kernels

    parts = x.new_empty(*x.shape, PARTS, dtype=PARTS_DTYPE)
    kernel: Any = kernels.split_kernel
    if x.numel():
        kernel[(-(-x.numel() // SPLIT_TILE),)](x, parts, x.numel(), SPLIT_TILE, PARTS)
    return parts
