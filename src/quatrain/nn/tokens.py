"""Sequences (B, T, C) and maps (N, C, H, W) as rows of tokens, and back.

Shapes: b batch, t tokens (all axes flattened), c channels, k keys.

Source: our own; rows of a map one after the other, as `torch.flatten` lays them.
"""

import math

from jaxtyping import Bool, Float
from torch import Tensor

from quatrain.specs import InputError


def check_layout(x: Tensor, name: str, batch: int, channels: int, ndim: int) -> None:
    """Refuse what is no sequence or map of so many samples and channels.

    Raises:
        InputError: naming the argument, its shape and the one that was expected.
    """
    axis = -1 if ndim == 1 else 1
    if x.ndim == ndim + 2 and (x.shape[0], x.shape[axis]) == (batch, channels):
        return
    raise InputError(
        name,
        tuple(x.shape),
        f"({batch}, T, {channels})" if ndim == 1 else f"({batch}, {channels}, H, W)",
        f"this attention was built with {channels} channels of {name} and ndim={ndim}",
    )


def sizes_of(x: Float[Tensor, "*shape"], ndim: int) -> tuple[int, ...]:
    """(T,) of a sequence, (H, W) of a map."""
    return (x.shape[1],) if ndim == 1 else tuple(x.shape[2:])


def tokens_of(x: Float[Tensor, "*shape"], ndim: int) -> Float[Tensor, "b t c"]:
    """A map row by row; a sequence as it is."""
    return x if ndim == 1 else x.flatten(2).transpose(1, 2)


def laid_out_like(
    x: Float[Tensor, "*shape"], tokens: Float[Tensor, "b t c"]
) -> Float[Tensor, "*shape"]:
    """Tokens in the layout and the sizes of `x`."""
    return tokens if x.ndim == 3 else tokens.transpose(1, 2).reshape(x.shape)


def subsampled(x: Float[Tensor, "*shape"], ndim: int, stride: int) -> Float[Tensor, "*kept"]:
    """One position of every `stride`, along each axis, from the first on.

    Contiguous, else an exported graph is bound to lengths that divide as its example's did.
    """
    kept = x[:, ::stride] if ndim == 1 else x[..., ::stride, ::stride]
    return kept.contiguous()


def subsampled_mask(
    mask: Bool[Tensor, "b k"] | None, sizes: tuple[int, ...], stride: int
) -> Bool[Tensor, "b kept"] | None:
    """The mask of the keys that `subsampled` keeps; one that fits no key is left as it is."""
    if mask is None or mask.ndim != 2 or mask.shape[1] != math.prod(sizes):
        return mask
    if len(sizes) == 1:
        return mask[:, ::stride]
    return mask.unflatten(1, sizes)[:, ::stride, ::stride].flatten(1)
