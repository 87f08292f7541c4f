"""Restrict an attention to one of its queries, to look at one row of weights.

Shapes: b batch, h heads, k keys.
"""

from dataclasses import replace

import torch
from jaxtyping import Bool
from torch import Tensor

from quatrain.ops.positions import Grid
from quatrain.ops.support import Support
from quatrain.ops.terms import AttentionInputs
from quatrain.specs import InputError
from quatrain.specs.errors import shorten


def one_query(at: tuple[int, ...], inputs: AttentionInputs) -> AttentionInputs:
    """The inputs of the query at coordinates `at`, with all keys.

    Source: Zhu et al. 2019, https://arxiv.org/abs/1904.05873, equation 1, for one q.
    """
    grid, operands, support = inputs.grid, inputs.operands, inputs.support
    sizes = grid.queries
    if len(at) != grid.ndim or not all(0 <= q < n for q, n in zip(at, sizes, strict=True)):
        raise InputError(
            f"at={shorten(at)} is not among the queries {sizes}; count coordinates from 0", "at"
        )
    index = at[0] if grid.ndim == 1 else at[0] * sizes[1] + at[1]
    single = Grid((1,) * grid.ndim, grid.keys, grid.key_stride)
    selected = replace(
        operands,
        query=None if operands.query is None else operands.query[:, :, index : index + 1],
        relative=tuple(
            encoding[:, sizes[axis] - 1 - at[axis] :][:, : len(single.relative_range(axis))]
            for axis, encoding in enumerate(operands.relative)
        ),
    )
    mask = _query_mask(at, index, inputs)
    masks = Support(key_padding_mask=support.key_padding_mask, attend_mask=mask)
    return AttentionInputs(inputs.terms, selected, single, masks)


def _query_mask(
    at: tuple[int, ...], index: int, inputs: AttentionInputs
) -> Bool[Tensor, "#b #h 1 k"] | None:
    """Causality, window and attend mask of the query, as one mask; None without any of them."""
    grid, support = inputs.grid, inputs.support
    support.structure.check(grid)
    pairs = support.pair_mask(grid, *inputs.value.shape[:2])
    if pairs is not None:
        pairs = pairs[:, :, min(index, pairs.shape[2] - 1)][:, :, None]
    if not support.causal and support.window is None:
        return pairs
    axes = [
        support.axis_mask(grid, axis, inputs.value.device)[coordinate]
        for axis, coordinate in enumerate(at)
    ]
    structure = axes[0] if len(axes) == 1 else torch.outer(axes[0], axes[1])
    row = structure.flatten()[None, None, None]
    return row if pairs is None else pairs & row
