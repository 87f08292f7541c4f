"""Attention on a map as one dot product: position logits become channels of queries and keys.

The position logits of a pair are bx[q, kx] + by[q, ky]: the product of the tables of the query,
laid side by side, with a vector that is 1 at the key's row and at its column. Appended to content,

    [asks; by(q, :); bx(q, :)] . [key; onehot(ky); onehot(kx)],

they let torch's own kernel, which knows content only, do everything. Queries and keys are wider by
the height and the width of the map of keys, so it pays where such a kernel is much faster than
blocks of queries: on a GPU.

Shapes: b batch, h heads, q queries, k keys, d width of a head, e width of a value, w all channels.
"""

import math
from contextlib import AbstractContextManager, nullcontext

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.functional import one_hot, pad, scaled_dot_product_attention

from quatrain.ops.derivatives import (
    REFERENCE,
    refuse_nested_transforms,
    refuse_second_derivatives_of,
)
from quatrain.ops.positions import Grid
from quatrain.ops.precision import autocast_disabled
from quatrain.ops.support import Support
from quatrain.ops.terms import (
    Operands,
    biased_query,
    key_logits,
    position_biases,
    position_query,
    upcast_operands,
)
from quatrain.specs import Term

WIDTHS = 8
"""Kernels take widths that are multiples of this."""


def attend(
    terms: Term, operands: Operands, grid: Grid, support: Support
) -> Float[Tensor, "b h q e"]:
    """The weighted sum of values of each query; zeros where its support is empty.

    Tables are made in float32 and rounded, with the sum, to the type of the operands.

    Source: Zhu et al. 2019, https://arxiv.org/abs/1904.05873, equation 2, on a map.
    """
    value = operands.value
    with autocast_disabled(value):
        query, key = _augmented(terms, upcast_operands(operands), grid)
    kept = support.key_mask(grid, value.shape[0])
    refuse_nested_transforms((query, key, value), REFERENCE)
    with autocast_disabled(value), kernels_for(kept):
        mixed = scaled_dot_product_attention(
            query.to(value.dtype),
            key.to(value.dtype),
            as_kernels_take(value, wide=True),
            attn_mask=kept,
            scale=1.0,
        )
    refuse_second_derivatives_of(mixed, REFERENCE)
    mixed = mixed[..., : value.shape[-1]]
    return mixed if kept is None else torch.where(kept.any(-1, keepdim=True), mixed, 0.0)


def kernels_for(mask: Bool[Tensor, "#b #h #q k"] | None) -> AbstractContextManager[object]:
    """Of the kernels that torch may take now, those that make no NaN of a mask.

    cuDNN's gives NaN gradients of queries for some numbers of keys where logits are far below zero:
    https://github.com/pytorch/pytorch/issues/196678.
    """
    if mask is None:
        return nullcontext()
    flash, efficient, formula = _allowed()
    kernels = [
        *([SDPBackend.FLASH_ATTENTION] if flash else []),
        *([SDPBackend.EFFICIENT_ATTENTION] if efficient else []),
        *([SDPBackend.MATH] if formula else []),
    ]
    return sdpa_kernel(kernels) if kernels else nullcontext()


@torch.compiler.assume_constant_result
def _allowed() -> tuple[bool, bool, bool]:
    """Whether torch may take its kernels: flash, memory-efficient, the formula."""
    backends = torch.backends.cuda
    return (
        backends.flash_sdp_enabled(),
        backends.mem_efficient_sdp_enabled(),
        backends.math_sdp_enabled(),
    )


def as_kernels_take(x: Float[Tensor, "b h n d"], *, wide: bool) -> Float[Tensor, "b h n w"]:
    """The same with its last axis contiguous and, if `wide`, zeros up to a multiple of `WIDTHS`.

    Otherwise torch's kernels give way, without a word, to a matrix of all pairs: those of a GPU
    for either reason, those of a CPU for the first.
    """
    missing = -x.shape[-1] % WIDTHS if wide else 0
    if missing:
        return pad(x, (0, missing))
    return x if x.stride(-1) == 1 else x.contiguous()


def _augmented(
    terms: Term, operands: Operands, grid: Grid
) -> tuple[Float[Tensor, "b h q w"], Float[Tensor, "b h k w"]]:
    batch, heads, keys, _ = operands.value.shape
    queries = math.prod(grid.queries)
    ours: list[Tensor] = []
    theirs: list[Tensor] = []
    asks = biased_query(terms, operands)
    if terms.has(Term.QUERY_KEY) and asks is not None and operands.key is not None:
        ours.append(asks)
        theirs.append(operands.key)
    elif terms.has(Term.KEY):
        theirs.append(key_logits(terms, operands)[..., None])
        ours.append(torch.ones_like(theirs[0][:, :, :1]))
    places = position_query(terms, operands)
    if places is not None:
        ours += position_biases(places, operands.relative, grid)
        theirs += _places_of_keys(grid, operands.value)
    width = sum(part.shape[-1] for part in ours)
    missing = operands.value.new_zeros(1, 1, 1, -width % WIDTHS if width else WIDTHS)
    ours.append(missing)
    theirs.append(missing)
    return (
        torch.cat([part.expand(batch, heads, queries, -1) for part in ours], dim=-1),
        torch.cat([part.expand(batch, heads, keys, -1) for part in theirs], dim=-1),
    )


def _places_of_keys(grid: Grid, like: Tensor) -> list[Float[Tensor, "k _"]]:
    """For each axis a vector for each key, 1 at its coordinate."""
    above, along = grid.keys
    rows = torch.arange(above, device=like.device).repeat_interleave(along)
    columns = torch.arange(along, device=like.device).repeat(above)
    return [one_hot(rows, above).to(like.dtype), one_hot(columns, along).to(like.dtype)]
