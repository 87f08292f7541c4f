"""Masks among the arguments of a call: which arguments they are, and what their values mean.

| argument | meaning | padding |
| --- | --- | --- |
| "...padding...", as torch's `key_padding_mask` | padding | True, 1, or negative if floating |
| "attention_mask" of shape (B, T), as in transformers | padding | 0 |
| "...mask..." of shape (B, T), where B and T differ | padding | 0 |
| any other "...mask..." | pairs of positions | |

A square mask of (B, T), B = T, that hides exactly the future is one of pairs.
"""

from typing import NoReturn

import torch
from torch import Tensor

from quatrain.specs import InputError


def is_mask(name: str, value: object) -> bool:
    """Whether an argument hides positions; "padding" may also be the number of a convolution."""
    return "mask" in name or (names_padding(name) and isinstance(value, Tensor))


def names_padding(name: str) -> bool:
    """Whether an argument marks padding by its name alone, True and 1 where it is."""
    return "padding" in name


def marks_padding(name: str, mask: Tensor, positions: tuple[int, int]) -> bool:
    """Whether a mask is one of single positions: of the batch and its positions, (B, T)."""
    batch, count = positions
    clear = names_padding(name) or name == "attention_mask" or batch != count
    return clear and tuple(mask.shape) == positions and not _hides_the_future(name, mask)


def is_causal(mask: Tensor) -> bool:
    """Whether a mask hides the keys after each query, and no others: True or negative, or False."""
    future = _future(mask)
    hidden = mask < 0 if mask.is_floating_point() else mask != 0
    return bool((hidden == future).all()) or (
        not mask.is_floating_point() and bool((hidden != future).all())
    )


def padding_from(name: str, mask: Tensor | None) -> Tensor | None:
    """True at padding; of a mask of (B, T) or (N, H, W), flattened to (B, T).

    Raises:
        InputError: if the mask has other axes.
    """
    if mask is None:
        return None
    if mask.ndim not in (2, 3):
        remedy = "name an argument that marks single positions"
        raise InputError(name, tuple(mask.shape), "a mask of (B, T) or (N, H, W)", remedy)
    return _padded(name, mask).flatten(1)


def check_padding(name: str, mask: Tensor, expected: tuple[int, int]) -> None:
    """Refuse a mask that does not mean what `padding_from` takes it for.

    Raises:
        InputError: if its shape is not that of the batch and its positions, its values are others
            than the two that are known, or it hides the future of each position.
    """
    padded = padding_from(name, mask)
    if padded is None or tuple(padded.shape) != expected:
        remedy = "name a mask of the positions that pass there"
        raise InputError(name, tuple(mask.shape), f"a mask of shape {expected}", remedy)
    if mask.is_meta:
        return
    added = names_padding(name) and mask.is_floating_point()
    fits = mask <= 0 if added else (mask == 0) | (mask == 1)
    if not bool(torch.all(fits)):
        numbers = "0 or negative" if added else "0 or 1"
        raise InputError(name, "a mask with other values", numbers, "name another mask")
    if _hides_the_future(name, mask):
        expected_mask = f"padding of shape {expected}, not the future of each position"
        remedy = "pass causal=True, or an example whose batch size differs from its length"
        raise InputError(name, "a causal mask", expected_mask, remedy)


def refuse_mask(place: str, argument: str, *, padding: bool) -> NoReturn:
    """Refuse a masked place; the error names the arguments of `insert` that account for the mask.

    Raises:
        InputError: always.
    """
    if padding:
        expected = f'"{argument}", the mask that {place} is called with'
        remedy = "pass it, or key_padding_mask=False for a mixer that sees masked positions"
        raise InputError("key_padding_mask", None, expected, remedy)
    expected = f"what the mask {argument} at {place} hides"
    remedy = (
        'pass causal=True, key_padding_mask="...", or key_padding_mask=False for a mixer that sees '
        "masked positions"
    )
    raise InputError("causal, key_padding_mask", None, expected, remedy)


def _padded(name: str, mask: Tensor) -> Tensor:
    if not names_padding(name):
        return mask == 0
    return mask < 0 if mask.is_floating_point() else mask != 0


def _hides_the_future(name: str, mask: Tensor) -> bool:
    """Whether a square mask, which may be of padding by its shape, is exactly a causal one."""
    if mask.is_meta or mask.ndim != 2 or mask.shape[0] != mask.shape[1] or len(mask) < 2:
        return False
    padded, future = _padded(name, mask), _future(mask)
    return bool((padded == future).all()) or bool((padded != future).all())


def _future(mask: Tensor) -> Tensor:
    return torch.ones(mask.shape[-2:], dtype=torch.bool, device=mask.device).triu(1)
