"""A block of queries: which keys it can reach, and its logits by relative position.

Blocks are neighbouring queries in one row of a map, or of a sequence, which is a map of one row.
Along the other axis all of them have the same coordinate, so that only along their own row does
the offset of a key differ from query to query. Position logits are two small tables by query and
key coordinate (one on a sequence), made for one block at a time.

Shapes: b batch, h heads, n queries of the block, q all queries, k keys that the block reaches along
one axis, l offsets that occur between them, d width of a head.
"""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int, Shaped
from torch import Tensor

from quatrain.ops.positions import Grid
from quatrain.ops.support import Structure

LONGEST = 64
"""Most queries of a block: enough for the matrix products to run at speed."""


@dataclass(frozen=True)
class Block:
    """`count` queries of a row, from number `first` along each axis, and the keys they reach."""

    grid: Grid
    first: tuple[int, ...]
    count: int
    keys: tuple[range, ...]

    @property
    def queries(self) -> slice:
        """The numbers of these queries among all of the map."""
        *row, column = self.first
        start = column + (row[0] * self.grid.queries[-1] if row else 0)
        return slice(start, start + self.count)

    @property
    def last(self) -> tuple[int, ...]:
        """The number of the last query along each axis."""
        *row, column = self.first
        return (*row, column + self.count - 1)

    def reached(self, x: Shaped[Tensor, "..."], dim: int) -> Shaped[Tensor, "..."]:
        """The part of `x` that the block reaches, as a view with an axis of the grid for `dim`."""
        x = x.unflatten(dim, self.grid.keys)
        for axis, keys in enumerate(self.keys):
            x = x.narrow(dim + axis, keys.start, len(keys))
        return x

    @property
    def reaches_all(self) -> bool:
        """Whether these queries reach every key."""
        return self.keys == tuple(map(range, self.grid.keys))

    def in_a_row(self, x: Shaped[Tensor, "..."], dim: int) -> Shaped[Tensor, "..."]:
        """The part of `x` that the block reaches, with the keys still along `dim` alone."""
        if self.reaches_all:
            return x
        return self.reached(x, dim).flatten(dim, dim + self.grid.ndim - 1)

    def offsets(self, axis: int, device: torch.device) -> Int[Tensor, "n k"]:
        """The offset of each key to each query along `axis`."""
        first, last, keys = self.first[axis], self.last[axis], self.keys[axis]
        queries = torch.arange(first, last + 1, device=device) + self.grid.first_query
        keys = torch.arange(keys.start, keys.stop, device=device) * self.grid.key_stride
        return keys[None, :] - queries[:, None]

    def occurring(self, axis: int) -> slice:
        """The numbers of the offsets that occur along `axis`, among those of the whole grid."""
        keys, stride = self.keys[axis], self.grid.key_stride
        start = self.grid.queries[axis] - 1 + keys.start * stride - self.last[axis]
        reach = (len(keys) - 1) * stride + self.last[axis] - self.first[axis] + 1
        return slice(start, start + reach)


def blocks(grid: Grid, structure: Structure) -> Iterator[Block]:
    """All queries, in blocks of nearly the same length.

    Source: Dao et al. 2022, https://arxiv.org/abs/2205.14135, algorithm 1.
    Differs: blocks of queries only, whose rows of logits are whole, so that the softmax needs no
        running maximum; bands of a window shorten them.
    """
    *above, width = grid.queries
    parts = -(-width // LONGEST)
    bounds = [width * part // parts for part in range(parts + 1)]
    for row in range(above[0] if above else 1):
        for start, stop in itertools.pairwise(bounds):
            first, last = ((row, start), (row, stop - 1)) if above else ((start,), (stop - 1,))
            keys = tuple(
                structure.key_range(grid, axis, first[axis], last[axis])
                for axis in range(grid.ndim)
            )
            yield Block(grid, first, stop - start, keys)


def table(
    asks: Float[Tensor, "#b h #n d"], relative: Float[Tensor, "h _ d"], block: Block, axis: int
) -> Float[Tensor, "#b h #n k"]:
    """Position logits of the block along one axis; `asks` are those of its queries."""
    scores = asks @ relative[:, block.occurring(axis)].mT
    if axis < block.grid.ndim - 1:
        return scores[..., :: block.grid.key_stride]
    return _sheared(scores.expand(-1, -1, block.count, -1).contiguous(), block)


def table_gradients(
    given: Float[Tensor, "b h n k"],
    asks: Float[Tensor, "#b h #n d"],
    relative: Float[Tensor, "h l d"],
    block: Block,
    axis: int,
) -> tuple[Float[Tensor, "b h #n d"], Float[Tensor, "h occurring d"]]:
    """From the gradient of `table` to that of its asks, and of the encodings that occur."""
    occurring = block.occurring(axis)
    lead = (*given.shape[:2], block.count)
    scores = given.new_zeros(*lead, occurring.stop - occurring.start)
    if axis < block.grid.ndim - 1:
        scores[..., :: block.grid.key_stride] = given
    else:
        _sheared(scores, block).copy_(given)
    if asks.shape[2] == 1:
        scores = scores.sum(2, keepdim=True)
    return scores @ relative[:, occurring], (scores.mT @ asks).sum(0)


def _sheared(scores: Float[Tensor, "b h n l"], block: Block) -> Float[Tensor, "b h n k"]:
    """Scores by offset, seen by key: query number i wants the columns from n - 1 - i on.

    In the flattened rows that is a step of l - 1 from row to row instead of l.
    """
    batch, heads, count, width = scores.shape
    return scores.as_strided(
        (batch, heads, count, len(block.keys[-1])),
        (heads * count * width, count * width, width - 1, block.grid.key_stride),
        scores.storage_offset() + count - 1,
    )
