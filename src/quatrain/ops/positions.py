"""Relative positions on a sequence or a map, their encoding, and the relative shift.

A query at coordinate q and a key at coordinate k have the relative position k - q, per axis. Along
an axis of Q queries and K keys only Q + K - 1 of them occur, so everything about them is computed
once for each. The relative shift then lays scores by relative position out by key:

    3 queries, 3 keys        by relative position     scores by key
                             -2 -1  0  1  2            0  1  2
                       q=0 [  .  .  a  b  c ]        [ a  b  c ]
                       q=1 [  .  d  e  f  . ]   ->   [ d  e  f ]
                       q=2 [  g  h  i  .  . ]        [ g  h  i ]

Shapes: b batch, h heads, q queries (all axes flattened), k keys along one axis, l relative
positions that occur along that axis, c channels.
"""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import pad

from quatrain.specs import InputError


@dataclass(frozen=True)
class Grid:
    """Coordinates of queries and keys: sizes per axis, (T,) for a sequence or (H, W) for a map.

    Key number i has the coordinate i * `key_stride` on the grid of queries. On a sequence the
    first query has the coordinate `first_query`: a decoder at position t has one query, and
    `first_query` = t. Queries that share one coordinate, as those of a beam do, count as one.
    """

    queries: tuple[int, ...]
    keys: tuple[int, ...]
    key_stride: int = 1
    first_query: int = 0

    def __post_init__(self) -> None:
        """Check that no axis is empty, and that queries and keys have the same axes."""
        if len(self.queries) != len(self.keys):
            message = f"keys={self.keys} and queries={self.queries} differ in their number of axes"
            raise InputError(f"{message}; pass both as (T,) or both as (H, W)", "keys")
        for name, sizes in (("queries", self.queries), ("keys", self.keys)):
            if 0 in sizes:
                raise InputError(f"{name}={sizes} has an empty axis; leave out empty inputs", name)

    @property
    def ndim(self) -> int:
        """1 for a sequence, 2 for a map."""
        return len(self.queries)

    def relative_range(self, axis: int) -> range:
        """The relative positions k - q that occur along `axis`, in ascending order."""
        return range(*self._relative_bounds(axis))

    def relative_tensor(self, axis: int, device: torch.device) -> Int[Tensor, " l"]:
        """`relative_range` as a tensor, whose length may be a symbol in an exported graph."""
        return torch.arange(*self._relative_bounds(axis), device=device)

    def relative_matrix(self, axis: int, device: torch.device) -> Int[Tensor, "q_axis k_axis"]:
        """The relative position k - q of each key to each query along `axis`."""
        queries = torch.arange(self.queries[axis], device=device) + self.first_query
        keys = torch.arange(self.keys[axis], device=device) * self.key_stride
        return keys[None, :] - queries[:, None]

    def query_coordinates(self, device: torch.device) -> Int[Tensor, "q ndim"]:
        """The coordinates of each query, in the order in which the axes are flattened."""
        axes = [torch.arange(size, device=device) for size in self.queries]
        return torch.cartesian_prod(*axes).view(-1, self.ndim) + self.first_query

    def key_coordinates(self, device: torch.device) -> Int[Tensor, "k ndim"]:
        """The coordinates of each key on the grid of queries, in the same order."""
        axes = [torch.arange(size, device=device) * self.key_stride for size in self.keys]
        return torch.cartesian_prod(*axes).view(-1, self.ndim)

    def _relative_bounds(self, axis: int) -> tuple[int, int]:
        first = -(self.queries[axis] - 1) - self.first_query
        last = (self.keys[axis] - 1) * self.key_stride - self.first_query
        return first, last + 1


def is_symbolic(*sizes: int) -> bool:
    """Whether a size is a symbol of an exported graph, so that no choice may depend on it.

    Compiled graphs have none: a choice by size is guarded, and other sizes recompile.
    """
    return any(isinstance(size, torch.SymInt) for size in sizes)


def block_index(
    count: int, step: int, length: int, device: torch.device
) -> Int[Tensor, "count length"]:
    """The indices of `count` blocks of `length`, which begin at the multiples of `step`.

    Where sizes are symbols, blocks are read by these indices instead of as views: whether a view is
    possible depends on the size, and `torch.export` refuses that for a named dimension.
    """
    first = torch.arange(count, device=device) * step
    return first[:, None] + torch.arange(length, device=device)


def expand_queries(x: Float[Tensor, "b h #q n"], grid: Grid) -> Float[Tensor, "b h q n"]:
    """Expand an axis of size 1 to the queries of the grid, as a view; other sizes stay."""
    return x if x.shape[2] > 1 else x.expand(-1, -1, math.prod(grid.queries), -1)


def sinusoid(
    relative: Int[Tensor, " l"], channels: int, wavelength: float, dtype: torch.dtype
) -> Float[Tensor, "l c"]:
    """Encode relative positions as sines, then cosines, of geometrically spaced wavelengths.

    It is computed in float64 for float64, else in float32: half precision cannot represent the
    phase of a distant position.

    Source: Vaswani et al. 2017, https://arxiv.org/abs/1706.03762, section 3.5.
    Differs: the encoding is of the relative position, not of the absolute one, and sines and
        cosines are grouped in two halves instead of alternating, as in the released vision code.
    """
    exact = torch.float64 if dtype == torch.float64 else torch.float32
    half = channels // 2
    index = torch.arange(half, device=relative.device, dtype=exact)
    frequency = torch.exp(index * (-math.log(wavelength) / half))
    angle = relative.to(exact)[:, None] * frequency
    return torch.cat((angle.sin(), angle.cos()), dim=-1)


def align_to_keys(
    scores: Float[Tensor, "b h q l"], grid: Grid, axis: int
) -> Float[Tensor, "b h q k"]:
    """Lay out scores by relative position as scores by key along `axis`."""
    batch, heads, queries, count = scores.shape
    if grid.ndim == 1 and grid.queries[0] == 1:  # also where a beam has several queries
        return scores[..., :: grid.key_stride]
    vertical = axis == 0 and grid.ndim == 2
    on_grid = scores.reshape(batch, heads, *grid.queries, count)
    on_grid = on_grid.transpose(2, 3) if vertical else on_grid
    shifted = relative_shift(on_grid, grid.keys[axis], grid.key_stride)
    shifted = shifted.transpose(2, 3) if vertical else shifted
    return shifted.reshape(batch, heads, queries, grid.keys[axis])


def joint_bias(table: Float[Tensor, "h rows columns"], grid: Grid) -> Float[Tensor, "1 h q k"]:
    """Lay out numbers by relative row and column, those of `relative_range`, for all pairs."""
    rows, columns = (
        grid.relative_matrix(axis, table.device) + (grid.queries[axis] - 1) for axis in (0, 1)
    )
    by_axes = table[:, rows[:, None, :, None], columns[None, :, None, :]]
    return by_axes.flatten(3).flatten(1, 2)[None]


def relative_shift(
    scores: Float[Tensor, "*lead q l"], keys: int, stride: int
) -> Float[Tensor, "*lead q k"]:
    """View scores by relative position as scores by key; the module's docstring has a picture.

    Query number i starts at column Q - 1 - i. In the flattened rows that is a step of l - 1 from
    row to row instead of l: a change of stride, so contiguous scores give a view. Where the
    number of queries is a symbol, scores are copied with one more column: then it also fits one.
    """
    queries, count = scores.shape[-2:]
    symbolic = is_symbolic(queries)
    if symbolic:
        scores, count = pad(scores, (0, 1)), count + 1
    if symbolic or queries > 1:
        flat = scores.flatten(-2)[..., queries - 1 : queries - 1 + queries * (count - 1)]
        scores = flat.unflatten(-1, (queries, count - 1))
    return scores[..., : (keys - 1) * stride + 1 : stride]
