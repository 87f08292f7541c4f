"""What each key has for all queries alike, by kernels of a GPU: E3 without E1, and padding.

Shapes: b batch, h heads, k keys, d width of a key, p parts of a logit; #b is 1 where all batch
elements share their padding.
"""

from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from quatrain.ops.attention.triton.position_bias import LOWEST

PARTS, OF_PARTS = 16, torch.bfloat16
"""How many numbers a key's logit becomes a sum of, where operands have 16 bits, and their type,
which has the range of float32."""

KEYS = 64
"""How many keys a program takes at once."""

SPLIT_AT_ONCE = 256
"""How many numbers a program splits."""


def key_logits(
    value: Float[Tensor, "b h k e"],
    key: Float[Tensor, "b h k d"] | None,
    bias: Float[Tensor, "h d"] | None,
    padding: Bool[Tensor, "#b k"] | None,
    scale: float,
) -> Float[Tensor, "b h k *p"]:
    """Logits of keys in float32 at least, or where values have 16 bits the parts they are sums of.

    Without a key and its bias they are zeros. At padding there is what stands for no weight.

    Source: Zhu et al. 2019, https://arxiv.org/abs/1904.05873, equation 2, the term E3.
    """
    from quatrain.ops.attention.triton import key_bias_kernels as key_kernels

    batch, heads, keys, _ = value.shape
    width = 1 if key is None else key.shape[-1]
    made = like_key_logits(value)
    if made.numel():
        weigh: Any = key_kernels.weigh
        weigh[(-(-keys // KEYS) * batch * heads,)](
            value if key is None else key,
            value if bias is None else bias,
            value if padding is None else padding,
            made,
            (keys, width, heads, 1 if padding is None else padding.shape[0]),
            KEYS=KEYS,
            WIDTH=1 << (width - 1).bit_length(),
            SCALE=scale,
            BIAS=bias is not None,
            PADDED=padding is not None,
            PARTS=PARTS if made.ndim == 4 else 1,
            LOWEST=LOWEST,
        )
    return made


def like_key_logits(value: Float[Tensor, "b h k e"]) -> Float[Tensor, "b h k *p"]:
    """The shape and type of the logits of keys, of numbers that nobody wrote."""
    if value.dtype.itemsize == 2:
        return value.new_empty(*value.shape[:3], PARTS, dtype=OF_PARTS)
    return value.new_empty(value.shape[:3])


def gradients_of_key_logits(
    given: Float[Tensor, "b h k"],
    key: Float[Tensor, "b h k d"],
    bias: Float[Tensor, "h d"],
    scale: float,
) -> tuple[Float[Tensor, "b h k d"], Float[Tensor, "h d"]]:
    """The gradients of keys and of the bias.

    Source: Zhu et al. 2019, https://arxiv.org/abs/1904.05873, equation 2, the term E3.
    """
    from quatrain.ops.attention.triton import key_bias_kernels as key_kernels

    batch, heads, keys, width = key.shape
    tiles = -(-keys // KEYS)
    to_key = torch.empty_like(key)
    to_bias = given.new_empty(tiles, batch, heads, width)
    if key.numel():
        kernel: Any = key_kernels.gradients_of_weighed
        kernel[(tiles * batch * heads,)](
            given,
            key,
            bias,
            to_key,
            to_bias,
            (keys, width, heads, 1),
            KEYS=KEYS,
            WIDTH=1 << (width - 1).bit_length(),
            SCALE=scale,
        )
    return to_key, to_bias.sum((0, 1)).to(bias.dtype)


def parts_of(x: Float[Tensor, "b h k"]) -> Float[Tensor, "b h k p"]:
    """Each number as a sum of three of 8 bits, and of zeros."""
    from quatrain.ops.attention.triton import key_bias_kernels as key_kernels

    parts = x.new_empty(*x.shape, PARTS, dtype=OF_PARTS)
    split: Any = key_kernels.split
    if x.numel():
        split[(-(-x.numel() // SPLIT_AT_ONCE),)](x, parts, x.numel(), SPLIT_AT_ONCE, PARTS)
    return parts
