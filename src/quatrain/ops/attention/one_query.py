"""An attention narrowed to one of its queries, to be looked at: a row in place of a matrix.

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
    """What the attention of the query at coordinates `at` is made of, its keys and masks kept.

    Source: Zhu et al. 2019, https://arxiv.org/abs/1904.05873, equation 1, for one q.

    Raises:
        InputError: if there is no such query, or a mask does not fit.
    """
    inside = len(at) == grid.ndim and all(0 <= q < n for q, n in zip(at, grid.queries, strict=True))
    if not inside:
        raise InputError("at", at, f"coordinates of a query among {grid.queries}", "count from 0")
    number = 0
    for coordinate, size in zip(at, grid.queries, strict=True):
        number = number * size + coordinate
    query = operands.query
    narrowed = replace(
        operands,
        query=None if query is None else query[:, :, number : number + 1],
        relative=tuple(
            offsets[:, grid.queries[axis] - 1 - at[axis] :][:, : _reach(grid, axis)]
            for axis, offsets in enumerate(operands.relative)
        ),
    )
    kept = _kept(at, number, operands, grid, support)
    only = Grid((1,) * grid.ndim, grid.keys, grid.key_stride)
    return narrowed, only, Support(key_padding_mask=support.key_padding_mask, attend_mask=kept)


def _reach(grid: Grid, axis: int) -> int:
    """From the first key to the last, in coordinates."""
    return (grid.keys[axis] - 1) * grid.key_stride + 1


def _kept(
    at: tuple[int, ...], number: int, operands: Operands, grid: Grid, support: Support
) -> Bool[Tensor, "#b #h 1 k"] | None:
    """Causality, window and attend mask of the one query; None where none of them is."""
    support.structure.check(grid)
    batch, heads = operands.value.shape[:2]
    pairs = support.pair_mask(grid, batch, heads)
    if pairs is not None:
        pairs = pairs[:, :, min(number, pairs.shape[2] - 1)][:, :, None]
    if not support.causal and support.window is None:
        return pairs
    axes = [
        support.axis_mask(grid, axis, operands.value.device)[coordinate]
        for axis, coordinate in enumerate(at)
    ]
    structure = axes[0] if len(axes) == 1 else torch.outer(axes[0], axes[1])
    near = structure.flatten()[None, None, None]
    return near if pairs is None else pairs & near
