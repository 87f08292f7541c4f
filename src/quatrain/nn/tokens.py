"""Conversion between layouts: sequences (B, T, C), maps (N, C, H, W) and their tokens.

Shapes: b batch, t tokens (all axes flattened), c channels, k keys.

Source: our own; the tokens of a map are in row-major order, as of `torch.flatten`.
"""

import math

from jaxtyping import Bool, Float
from torch import Tensor

from quatrain.specs import InputError


def check_layout(x: Tensor, name: str, channels: int, ndim: int, batch: int | None = None) -> None:
    """Check that an argument is a sequence or map of these channels, and of this batch size."""
    axis = -1 if ndim == 1 else 1
    if x.ndim == ndim + 2 and x.shape[axis] == channels and batch in (None, x.shape[0]):
        return
    size = "N" if batch is None else batch
    expected = f"({size}, T, {channels})" if ndim == 1 else f"({size}, {channels}, H, W)"
    built = f"this module was built with {channels} {name} channels and ndim={ndim}"
    raise InputError(f"{name} has shape {tuple(x.shape)}, not {expected}; {built}", name)


def spatial_sizes(x: Float[Tensor, "*shape"], ndim: int) -> tuple[int, ...]:
    """(T,) of a sequence, (H, W) of a map."""
    return (x.shape[1],) if ndim == 1 else tuple(x.shape[2:])


def to_tokens(x: Float[Tensor, "*shape"], ndim: int) -> Float[Tensor, "b t c"]:
    """The tokens of a map in row-major order; a sequence is returned as it is."""
    return x if ndim == 1 else x.flatten(2).transpose(1, 2)


def from_tokens(
    tokens: Float[Tensor, "b t c"], like: Float[Tensor, "*shape"]
) -> Float[Tensor, "*shape"]:
    """Tokens in the layout and size of `like`."""
    return tokens if like.ndim == 3 else tokens.transpose(1, 2).reshape(like.shape)


def subsample(x: Float[Tensor, "*shape"], ndim: int, stride: int) -> Float[Tensor, "*strided"]:
    """Every `stride`-th position along each axis, starting with the first.

    The result is contiguous: a strided view would bind an exported graph to lengths with the same
    remainder as its example's.
    """
    return (x[:, ::stride] if ndim == 1 else x[..., ::stride, ::stride]).contiguous()


def subsample_mask(
    mask: Bool[Tensor, "b k"] | None, sizes: tuple[int, ...], stride: int
) -> Bool[Tensor, "b strided"] | None:
    """The mask after `subsample`; a mask of another shape is returned as it is."""
    if mask is None or mask.ndim != 2 or mask.shape[1] != math.prod(sizes):
        return mask
    if len(sizes) == 1:
        return mask[:, ::stride]
    return mask.unflatten(1, sizes)[:, ::stride, ::stride].flatten(1)
