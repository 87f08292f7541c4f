"""Restrict an attention to some of its queries: to look at one, or to compute all in blocks.

Shapes: b batch, h heads, q queries, n queries of the range, k keys.
"""

import itertools
import math
from collections.abc import Iterator
from dataclasses import replace

from jaxtyping import Bool
from torch import Tensor

from quatrain.ops.positions import Grid
from quatrain.ops.terms import AttentionInputs
from quatrain.specs import InputError
from quatrain.specs.errors import shorten

Coordinates = tuple[int, ...]
"""(t,) on a sequence, (y, x) on a map."""


def one_query(at: Coordinates, inputs: AttentionInputs) -> AttentionInputs:
    """The inputs of the query at coordinates `at`, with all keys.

    Source: Zhu et al. 2019, https://arxiv.org/abs/1904.05873, equation 1, for one q.
    """
    grid = inputs.grid
    sizes = grid.queries
    if len(at) != grid.ndim or not all(0 <= q < n for q, n in zip(at, sizes, strict=True)):
        raise InputError(
            f"at={shorten(at)} is not among the queries {sizes}; count coordinates from 0", "at"
        )
    return query_range(at, (1,) * grid.ndim, inputs)


def query_blocks(inputs: AttentionInputs, largest: int) -> Iterator[tuple[slice, AttentionInputs]]:
    """The inputs in blocks of consecutive queries, of at most `largest` logits if one query allows.

    On a map a block is some whole rows, or a part of one. The slice is that of the flattened
    queries.
    """
    grid = inputs.grid
    batch, heads = inputs.value.shape[:2]
    *rows, width = grid.queries
    most = max(1, largest // (batch * heads * math.prod(grid.keys)))
    step = (most // width, width) if rows and most >= width else (1,) * len(rows) + (most,)
    starts = [range(0, size, n) for size, n in zip(grid.queries, step, strict=True)]
    number = 0
    for first in itertools.product(*starts):
        sizes = tuple(
            min(n, size - start) for start, n, size in zip(first, step, grid.queries, strict=True)
        )
        count = math.prod(sizes)
        yield slice(number, number + count), query_range(first, sizes, inputs)
        number += count


def query_range(first: Coordinates, sizes: Coordinates, inputs: AttentionInputs) -> AttentionInputs:
    """The inputs of the queries of `sizes` from the coordinates `first` on, with all keys."""
    grid, operands, support = inputs.grid, inputs.operands, inputs.support
    block = Grid(sizes, grid.keys, grid.key_stride)
    query, paired = (
        None if x is None else _of_range(x, first, sizes, grid)
        for x in (operands.query, operands.paired_query)
    )
    starts = (n - start - size for n, start, size in zip(grid.queries, first, sizes, strict=True))
    occurring = tuple(
        slice(start, start + len(block.relative_range(axis))) for axis, start in enumerate(starts)
    )
    relative, table = (
        tuple(x[:, positions] for x, positions in zip(axes, occurring, strict=bool(axes)))
        for axes in (operands.relative, operands.table)
    )
    joint = (
        None if operands.joint_table is None else operands.joint_table[(slice(None), *occurring)]
    )
    selected = replace(
        operands,
        query=query,
        paired_query=paired,
        relative=relative,
        table=table,
        joint_table=joint,
    )
    mask = _range_mask(first, sizes, inputs)
    masks = replace(support, causal=False, window=None, attend_mask=mask)
    return AttentionInputs(inputs.terms, selected, block, masks)


def _of_range(x: Tensor, first: Coordinates, sizes: Coordinates, grid: Grid) -> Tensor:
    """The queries of a range on the third axis."""
    if grid.ndim == 1:
        return x[:, :, first[0] : first[0] + sizes[0]]
    on_map = x.unflatten(2, grid.queries)
    return on_map[:, :, first[0] : first[0] + sizes[0], first[1] : first[1] + sizes[1]].flatten(
        2, 3
    )


def _range_mask(
    first: Coordinates, sizes: Coordinates, inputs: AttentionInputs
) -> Bool[Tensor, "#b #h n k"] | None:
    """Causality, window and attend mask of the queries, as one mask; None without any of them."""
    grid, support = inputs.grid, inputs.support
    support.structure.check(grid)
    pairs = support.pair_mask(grid, *inputs.value.shape[:2])
    if pairs is not None and pairs.shape[2] > 1:
        pairs = _of_range(pairs, first, sizes, grid)
    elif pairs is not None:
        pairs = pairs.expand(-1, -1, math.prod(sizes), -1)
    if not support.causal and support.window is None:
        return pairs
    axes = [
        support.axis_mask(grid, axis, inputs.value.device)[start : start + count]
        for axis, (start, count) in enumerate(zip(first, sizes, strict=True))
    ]
    structure = axes[0]
    if len(axes) == 2:
        structure = (axes[0][:, None, :, None] & axes[1][None, :, None, :]).flatten(0, 1).flatten(1)
    both = structure[None, None]
    return both if pairs is None else pairs & both
