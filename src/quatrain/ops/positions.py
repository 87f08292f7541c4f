"""Relative positions on a line or a map: which offsets occur, their encoding, their alignment.

A query at coordinate q and a key at coordinate k meet at the offset k - q, per axis. Along an axis
of Q queries and K keys only Q + K - 1 offsets occur, so everything about positions is computed
once for each offset that occurs, and `align` then lays the scores out by query and key:

    3 queries, 3 keys        scores by offset         aligned by key
                             -2 -1  0  1  2            0  1  2
                       q=0 [  .  .  a  b  c ]        [ a  b  c ]
                       q=1 [  .  d  e  f  . ]   ->   [ d  e  f ]
                       q=2 [  g  h  i  .  . ]        [ g  h  i ]

Shapes: b batch, h heads, q queries (all axes flattened), k keys along one axis, l offsets that
occur along that axis, c channels.
"""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from quatrain.specs import InputError


@dataclass(frozen=True)
class Grid:
    """Where queries and keys lie: sizes per axis, (T,) for a sequence or (H, W) for a map.

    Key number i lies at coordinate i * `key_stride` of the query's grid; the first query lies at
    `first_query` on a sequence (a decoder that asks for position t alone has `first_query` = t).
    Queries that all stand at one place of a sequence, as those of a beam do, count as one.
    """

    queries: tuple[int, ...]
    keys: tuple[int, ...]
    key_stride: int = 1
    first_query: int = 0

    def __post_init__(self) -> None:
        """Refuse empty axes, and queries and keys of different dimensionality."""
        if len(self.queries) != len(self.keys):
            raise InputError(
                "keys",
                self.keys,
                f"as many axes as the queries {self.queries}",
                "give both as (T,) or both as (H, W)",
            )
        for name, sizes in (("queries", self.queries), ("keys", self.keys)):
            if 0 in sizes:
                raise InputError(
                    name, sizes, "at least one position on each axis", "leave empty inputs out"
                )

    @property
    def ndim(self) -> int:
        """1 for a sequence, 2 for a map."""
        return len(self.queries)

    def offset_range(self, axis: int) -> range:
        """The offsets k - q that occur along `axis`, in order."""
        return range(*self._offset_bounds(axis))

    def offset_tensor(self, axis: int, device: torch.device) -> Int[Tensor, " l"]:
        """The same as a tensor; its length may stay a symbol in an exported graph."""
        return torch.arange(*self._offset_bounds(axis), device=device)

    def offsets(self, axis: int, device: torch.device) -> Int[Tensor, "q_axis k_axis"]:
        """The offset k - q of each key to each query along `axis`."""
        queries = torch.arange(self.queries[axis], device=device) + self.first_query
        keys = torch.arange(self.keys[axis], device=device) * self.key_stride
        return keys[None, :] - queries[:, None]

    def _offset_bounds(self, axis: int) -> tuple[int, int]:
        first = -(self.queries[axis] - 1) - self.first_query
        last = (self.keys[axis] - 1) * self.key_stride - self.first_query
        return first, last + 1


def is_symbolic(*sizes: int) -> bool:
    """Whether a size is a symbol of an exported graph, which no choice may hang on.

    In a compiled graph none is: what was chosen by a size is compiled again for one that would
    have chosen otherwise.
    """
    return any(isinstance(size, torch.SymInt) for size in sizes)


def expand_queries(x: Float[Tensor, "b h #q n"], grid: Grid) -> Float[Tensor, "b h q n"]:
    """`x`, and where it is one for all queries, repeated for those of the grid, as a view."""
    queries = 1
    for size in grid.queries:
        queries *= size
    return x if x.shape[2] > 1 else x.expand(-1, -1, queries, -1)


def sinusoid(
    offsets: Int[Tensor, " l"], channels: int, wavelength: float, dtype: torch.dtype
) -> Float[Tensor, "l c"]:
    """Encode each offset as sines, then cosines, of geometrically spaced wavelengths.

    Computed in float64 for float64 and in float32 for every other `dtype`: half precision cannot
    hold the phase of a distant offset.

    Source: Vaswani et al. 2017, https://arxiv.org/abs/1706.03762, section 3.5.
    Differs: the encoding is of the offset, not of the absolute position, and sines and cosines
        are grouped in two halves instead of alternating, as in the released vision code.
    """
    exact = torch.float64 if dtype == torch.float64 else torch.float32
    half = channels // 2
    index = torch.arange(half, device=offsets.device, dtype=exact)
    frequency = torch.exp(index * (-math.log(wavelength) / half))
    angle = offsets.to(exact)[:, None] * frequency
    return torch.cat((angle.sin(), angle.cos()), dim=-1)


def align(scores: Float[Tensor, "b h q l"], grid: Grid, axis: int) -> Float[Tensor, "b h q k"]:
    """Lay scores by offset out as scores by key along `axis`; see the module's picture.

    Query number i wants the columns from (Q - 1 - i) on. In the flattened rows that is a step of
    l - 1 instead of l from row to row: a change of stride, so nothing is gathered.
    """
    batch, heads, queries, width = scores.shape
    rows, reach = grid.queries[axis], (grid.keys[axis] - 1) * grid.key_stride + 1
    if rows == 1 and grid.ndim == 1:
        return scores[..., :: grid.key_stride]
    across = axis == 0 and grid.ndim == 2
    by_axis = scores.reshape(batch, heads, *grid.queries, width)
    by_axis = by_axis.transpose(2, 3) if across else by_axis
    lead = by_axis.shape[:-2]
    if rows == 1:
        sheared = by_axis
    else:
        flat = by_axis.reshape(*lead, rows * width)
        sheared = flat[..., rows - 1 : rows - 1 + rows * (width - 1)]
        sheared = sheared.reshape(*lead, rows, width - 1)
    sheared = sheared[..., : reach : grid.key_stride]
    sheared = sheared.transpose(2, 3) if across else sheared
    return sheared.reshape(batch, heads, queries, grid.keys[axis])
