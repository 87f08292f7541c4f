"""A block of neighbouring queries: the keys that it can reach, and its position bias.

The queries of a block lie in one row of a map, or on a sequence, which is a map of one row. So
along the vertical axis all of them have the same coordinate, and only along their own row does the
relative position of a key differ from query to query. The position bias of a block is one small
matrix per axis, by query and key coordinate.

Shapes: b batch, h heads, n queries of the block, q all queries, k keys that the block reaches along
one axis, l relative positions that occur between them, d width of a head.
"""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int, Shaped
from torch import Tensor

from quatrain.ops.positions import Grid, relative_shift
from quatrain.ops.support import Structure

MAX_QUERIES = 64
"""The most queries of a block: enough for matrix products to run at full speed."""


@dataclass(frozen=True)
class QueryBlock:
    """`count` queries of a row, from index `first` on each axis, and the keys that they reach."""

    grid: Grid
    first: tuple[int, ...]
    count: int
    keys: tuple[range, ...]

    @property
    def queries(self) -> slice:
        """The flat indices of these queries."""
        *row, column = self.first
        start = column + (row[0] * self.grid.queries[-1] if row else 0)
        return slice(start, start + self.count)

    @property
    def last(self) -> tuple[int, ...]:
        """The index of the last query on each axis."""
        *row, column = self.first
        return (*row, column + self.count - 1)

    @property
    def reaches_all(self) -> bool:
        """Whether these queries reach every key."""
        return self.keys == tuple(map(range, self.grid.keys))

    def narrow(self, x: Shaped[Tensor, "..."], dim: int) -> Shaped[Tensor, "..."]:
        """The view of the keys that the block reaches, with one axis per axis of the grid."""
        x = x.unflatten(dim, self.grid.keys)
        for axis, keys in enumerate(self.keys):
            x = x.narrow(dim + axis, keys.start, len(keys))
        return x

    def narrow_flat(self, x: Shaped[Tensor, "..."], dim: int) -> Shaped[Tensor, "..."]:
        """The keys that the block reaches, still along `dim` alone."""
        if self.reaches_all:
            return x
        return self.narrow(x, dim).flatten(dim, dim + self.grid.ndim - 1)

    def relative_matrix(self, axis: int, device: torch.device) -> Int[Tensor, "n k"]:
        """The relative position of each key to each query along `axis`."""
        first, last, keys = self.first[axis], self.last[axis], self.keys[axis]
        queries = torch.arange(first, last + 1, device=device) + self.grid.first_query
        keys = torch.arange(keys.start, keys.stop, device=device) * self.grid.key_stride
        return keys[None, :] - queries[:, None]

    def relative_slice(self, axis: int) -> slice:
        """The relative positions of the block along `axis`, as indices into those of the grid."""
        keys, stride = self.keys[axis], self.grid.key_stride
        start = self.grid.queries[axis] - 1 + keys.start * stride - self.last[axis]
        length = (len(keys) - 1) * stride + self.last[axis] - self.first[axis] + 1
        return slice(start, start + length)


def query_blocks(grid: Grid, structure: Structure) -> Iterator[QueryBlock]:
    """All queries, in blocks of nearly equal length.

    Source: Dao et al. 2022, https://arxiv.org/abs/2205.14135, algorithm 1.
    Differs: blocks of queries only, whose rows of logits are whole, so that the softmax needs no
        running maximum; a window shortens the rows.
    """
    *height, width = grid.queries
    parts = -(-width // MAX_QUERIES)
    bounds = [width * part // parts for part in range(parts + 1)]
    for row in range(height[0] if height else 1):
        for start, stop in itertools.pairwise(bounds):
            first, last = ((row, start), (row, stop - 1)) if height else ((start,), (stop - 1,))
            keys = tuple(
                structure.key_range(grid, axis, first[axis], last[axis])
                for axis in range(grid.ndim)
            )
            yield QueryBlock(grid, first, stop - start, keys)


def block_position_bias(
    query: Float[Tensor, "#b h #n d"],
    relative: Float[Tensor, "h _ d"],
    block: QueryBlock,
    axis: int,
) -> Float[Tensor, "#b h #n k"]:
    """Position logits of the block along one axis; `query` are those of the block."""
    scores = query @ relative[:, block.relative_slice(axis)].mT
    if axis < block.grid.ndim - 1:
        return scores[..., :: block.grid.key_stride]
    return _by_key(scores.expand(-1, -1, block.count, -1).contiguous(), block)


def block_position_bias_backward(
    grad_bias: Float[Tensor, "b h n k"],
    query: Float[Tensor, "#b h #n d"],
    relative: Float[Tensor, "h l d"],
    block: QueryBlock,
    axis: int,
) -> tuple[Float[Tensor, "b h #n d"], Float[Tensor, "h occurring d"]]:
    """Gradients of the queries, and of the encodings of the block's relative positions."""
    occurring = block.relative_slice(axis)
    lead = (*grad_bias.shape[:2], block.count)
    scores = grad_bias.new_zeros(*lead, occurring.stop - occurring.start)
    if axis < block.grid.ndim - 1:
        scores[..., :: block.grid.key_stride] = grad_bias
    else:
        _by_key(scores, block).copy_(grad_bias)
    if query.shape[2] == 1:
        scores = scores.sum(2, keepdim=True)
    return scores @ relative[:, occurring], (scores.mT @ query).sum(0)


def joint_bias_views(
    table: Float[Tensor, "h rows columns"], block: QueryBlock
) -> list[Float[Tensor, "h k_rows k_columns"]]:
    """For each query of a block on a map, the view of a joint table that is its bias.

    All of a block at once would be a second block in memory, and in the gradient a third.
    """
    rows, columns = (block.relative_slice(axis) for axis in (0, 1))
    stride = block.grid.key_stride
    part = table[:, rows, columns][:, ::stride]
    span = (len(block.keys[1]) - 1) * stride + 1
    starts = reversed(range(block.count))  # the last query has the first view
    return [part[:, :, start : start + span : stride] for start in starts]


def _by_key(scores: Float[Tensor, "b h n l"], block: QueryBlock) -> Float[Tensor, "b h n k"]:
    """Contiguous scores by relative position, viewed by key."""
    return relative_shift(scores, len(block.keys[-1]), block.grid.key_stride)
