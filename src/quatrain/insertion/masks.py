"""The meaning of masks among the arguments of a call, by name, shape and values.

| argument | hides | padding is |
| --- | --- | --- |
| "...padding...", as torch's `key_padding_mask` | padding | True, 1, or negative if floating |
| "attention_mask" of shape (B, T), as in transformers | padding | 0 |
| "...mask..." of shape (B, T), where B and T differ | padding | 0 |
| any other "...mask..." | pairs of positions | |

A square mask of (B, T), B = T, that hides exactly the future hides pairs.
"""

import torch
from torch import Tensor

from quatrain.specs import InputError


def is_mask(name: str, value: object) -> bool:
    """Whether an argument is a mask; "padding" may also be the number of a convolution."""
    return "mask" in name or (is_padding_name(name) and isinstance(value, Tensor))


def is_padding_name(name: str) -> bool:
    """Whether the name alone says that True and 1 are padding."""
    return "padding" in name


def is_padding_mask(name: str, mask: Tensor, positions: tuple[int, int]) -> bool:
    """Whether a mask hides single positions; `positions` is the shape (B, T) of the batch."""
    batch, count = positions
    unambiguous = is_padding_name(name) or name == "attention_mask" or batch != count
    return unambiguous and tuple(mask.shape) == positions and not _hides_future(name, mask)


def is_causal_mask(mask: Tensor) -> bool:
    """Whether a mask hides the keys after each query and no others.

    Hidden keys are negative if the mask is floating, else True or, in the whole mask, False.
    """
    future = _future(mask)
    if mask.is_floating_point():
        return bool(((mask < 0) == future).all())
    return bool(((mask != 0) == future).all()) or bool(((mask == 0) == future).all())


def hides_keys(mask: Tensor, *, causal: bool) -> bool:
    """Whether a mask of (B, 1, Q, K) hides the same keys from each query, and the future if causal.

    Hidden pairs are negative if the mask is floating, else False. Queries that see all keys or none
    are left out, since models choose either for queries that are padding.
    """
    visible = mask >= 0 if mask.is_floating_point() else mask != 0
    expected = visible.any(-2, keepdim=True).expand_as(visible)
    if causal:
        expected = expected & ~_future(mask)
    constant = visible.all(-1) | ~visible.any(-1)
    return bool(((visible == expected).all(-1) | constant).all())


def to_padding_mask(name: str, mask: Tensor | None) -> Tensor | None:
    """Convert a mask of (B, T) or (N, H, W) to booleans of (B, T), True at padding."""
    if mask is None:
        return None
    if mask.ndim not in (2, 3):
        shape = tuple(mask.shape)
        raise InputError(f"{name} has shape {shape}, not (B, T) or (N, H, W); name another", name)
    return _is_padding(name, mask).flatten(1)


def check_padding_mask(name: str, mask: Tensor, positions: tuple[int, int]) -> None:
    """Check that a mask has the shape (B, T) = `positions`, and values that mark padding."""
    padding = to_padding_mask(name, mask)
    if padding is None or tuple(padding.shape) != positions:
        shape = tuple(mask.shape)
        raise InputError(f"{name} has shape {shape}, not {positions}; name another mask", name)
    if mask.is_meta:
        return
    additive = is_padding_name(name) and mask.is_floating_point()
    valid = mask <= 0 if additive else (mask == 0) | (mask == 1)
    if not bool(torch.all(valid)):
        values = "0 or negative" if additive else "0 or 1"
        raise InputError(f"{name} has values that are not {values}; name another mask", name)
    if _hides_future(name, mask):
        remedy = "pass causal=True, or an example whose batch size differs from its length"
        raise InputError(f"{name} is a causal mask, not one of padding; {remedy}", name)


def _is_padding(name: str, mask: Tensor) -> Tensor:
    if not is_padding_name(name):
        return mask == 0
    return mask < 0 if mask.is_floating_point() else mask != 0


def _hides_future(name: str, mask: Tensor) -> bool:
    """Whether a square mask, which could be padding by its shape, is exactly a causal one."""
    if mask.is_meta or mask.ndim != 2 or mask.shape[0] != mask.shape[1] or len(mask) < 2:
        return False
    padding, future = _is_padding(name, mask), _future(mask)
    return bool((padding == future).all()) or bool((padding != future).all())


def _future(mask: Tensor) -> Tensor:
    return torch.ones(mask.shape[-2:], dtype=torch.bool, device=mask.device).triu(1)
