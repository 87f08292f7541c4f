"""Restrict an attention to one of its queries, to look at one row of weights.

Shapes: b batch, h heads, k keys.
"""

from dataclasses import replace

import torch
from jaxtyping import Bool
from torch import Tensor

from quatrain.ops.positions import Grid
from quatrain.ops.support import Support
from quatrain.ops.terms import Operands
from quatrain.specs import InputError


def one_query(
    at: tuple[int, ...], operands: Operands, grid: Grid, support: Support
) -> tuple[Operands, Grid, Support]:
    """Operands, grid and support of the query at coordinates `at`, with all keys.

    Source: Zhu et al. 2019, https://arxiv.org/abs/1904.05873, equation 1, for one q.

    Raises:
        InputError: if there is no such query, or a mask has another type or shape.
    """
    inside = len(at) == grid.ndim and all(0 <= q < n for q, n in zip(at, grid.queries, strict=True))
    if not inside:
        raise InputError("at", at, f"coordinates of a query among {grid.queries}", "count from 0")
    index = 0
    for coordinate, size in zip(at, grid.queries, strict=True):
        index = index * size + coordinate
    query = operands.query
    selected = replace(
        operands,
        query=None if query is None else query[:, :, index : index + 1],
        relative=tuple(
            offsets[:, grid.queries[axis] - 1 - at[axis] :][:, : _offset_count(grid, axis)]
            for axis, offsets in enumerate(operands.relative)
        ),
    )
    mask = _query_mask(at, index, operands, grid, support)
    single = Grid((1,) * grid.ndim, grid.keys, grid.key_stride)
    return selected, single, Support(key_padding_mask=support.key_padding_mask, attend_mask=mask)


def _offset_count(grid: Grid, axis: int) -> int:
    """How many offsets lie between the first key and the last."""
    return (grid.keys[axis] - 1) * grid.key_stride + 1


def _query_mask(
    at: tuple[int, ...], index: int, operands: Operands, grid: Grid, support: Support
) -> Bool[Tensor, "#b #h 1 k"] | None:
    """Causality, window and attend mask of the query, as one mask; None without any of them."""
    support.structure.check(grid)
    batch, heads = operands.value.shape[:2]
    pairs = support.pair_mask(grid, batch, heads)
    if pairs is not None:
        pairs = pairs[:, :, min(index, pairs.shape[2] - 1)][:, :, None]
    if not support.causal and support.window is None:
        return pairs
    axes = [
        support.axis_mask(grid, axis, operands.value.device)[coordinate]
        for axis, coordinate in enumerate(at)
    ]
    structure = axes[0] if len(axes) == 1 else torch.outer(axes[0], axes[1])
    row = structure.flatten()[None, None, None]
    return row if pairs is None else pairs & row
