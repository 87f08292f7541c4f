"""The supporting key region of each query: structure (causal, window) and data (masks).

Shapes: b batch, h heads, q queries, k keys. Masks are broadcast over every axis of size 1.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from quatrain.ops.positions import Grid
from quatrain.specs import InputError


@dataclass(frozen=True)
class Structure:
    """What is known of a support before any mask is looked at; methods are chosen by it.

    Source: Zhu et al. 2019, https://arxiv.org/abs/1904.05873, equation 1.
    """

    causal: bool = False
    window: int | None = None
    has_key_padding: bool = False
    """Whether there is a key padding mask."""
    has_attn_mask: bool = False
    """Whether there is an attend mask."""

    @property
    def depends_on_query(self) -> bool:
        """Whether the region may differ from query to query."""
        return self.causal or self.window is not None or self.has_attn_mask

    def check(self, grid: Grid) -> None:
        """Refuse causality on a map, and a window without a middle.

        Raises:
            InputError: there.
        """
        if self.window is not None and (self.window < 1 or self.window % 2 == 0):
            raise InputError("window", self.window, "an odd number from 1 up", "choose another")
        if self.causal and grid.ndim != 1:
            raise InputError(
                "causal", True, "False on a map", "order exists on sequences (ndim=1) only"
            )

    def allows(self, offsets: Int[Tensor, "..."]) -> Bool[Tensor, "..."]:
        """True at the offsets k - q along an axis that causality and window allow."""
        if self.causal:
            kept = offsets <= 0
            return kept if self.window is None else kept & (offsets > -self.window)
        if self.window is None:
            return torch.ones_like(offsets, dtype=torch.bool)
        return offsets.abs() <= self.window // 2

    def key_range(self, grid: Grid, axis: int, first: int, last: int) -> range:
        """The numbers of the keys along `axis` that queries number `first` to `last` may reach."""
        stride, keys = grid.key_stride, grid.keys[axis]
        lowest, highest = first + grid.first_query, last + grid.first_query
        before = after = None
        if self.causal:
            before, after = None if self.window is None else self.window - 1, 0
        elif self.window is not None:
            before = after = self.window // 2
        start = 0 if before is None else max(0, -((before - lowest) // stride))
        stop = keys if after is None else min(keys, (highest + after) // stride + 1)
        return range(start, max(start, stop))


FULL_SUPPORT = Structure()
"""Nothing is excluded."""


@dataclass(frozen=True)
class Support:
    """Which keys each query may attend to; the default is all of them.

    `causal`: only keys at or before the query (sequences).
    `window`: only keys within a centred window of this odd width per axis; together with `causal`,
        the `window` positions that end at the query.
    `key_padding_mask`: True marks padding, per key.
    `attend_mask`: True marks pairs that may attend.

    Source: Zhu et al. 2019, https://arxiv.org/abs/1904.05873, equation 1 (the region is named
        Omega_q) and section 4.2 (range-limited terms).
    Differs: the paper does not say how a window meets causality; ours holds as many keys as the
        centred one, so that it compares with a causal convolution of that width.
    """

    causal: bool = False
    window: int | None = None
    key_padding_mask: Bool[Tensor, "b k"] | None = None
    attend_mask: Bool[Tensor, "..."] | None = None

    @property
    def structure(self) -> Structure:
        """This support without its masks' contents."""
        padded, picked = self.key_padding_mask is not None, self.attend_mask is not None
        return Structure(self.causal, self.window, padded, picked)

    def mask(
        self, grid: Grid, value: Float[Tensor, "b h k e"]
    ) -> Bool[Tensor, "#b #h #q k"] | None:
        """One mask, True where a query may attend to a key; None where nothing is excluded.

        Raises:
            InputError: if a mask fits neither the grid nor the batch and heads of `value`.
        """
        batch, heads = value.shape[:2]
        parts = [
            self._structure(grid, value.device),
            self.key_mask(grid, batch),
            self.pair_mask(grid, batch, heads),
        ]
        given = [part for part in parts if part is not None]
        if not given:
            return None
        combined = given[0]
        for part in given[1:]:
            combined = combined & part
        return combined

    def _structure(self, grid: Grid, device: torch.device) -> Bool[Tensor, "1 1 q k"] | None:
        self.structure.check(grid)
        if not self.causal and self.window is None:
            return None
        per_axis = [self.axis_mask(grid, axis, device) for axis in range(grid.ndim)]
        if grid.ndim == 1:
            return per_axis[0][None, None]
        rows, columns = per_axis
        both = rows[:, None, :, None] & columns[None, :, None, :]
        return both.reshape(1, 1, rows.shape[0] * columns.shape[0], -1)

    def axis_mask(
        self, grid: Grid, axis: int, device: torch.device
    ) -> Bool[Tensor, "q_axis k_axis"]:
        """True where causality and window let a query attend to a key, along one axis."""
        return self.structure.allows(grid.offsets(axis, device))

    def padding(self, grid: Grid, batch: int) -> Bool[Tensor, "#b k"] | None:
        """True at keys that are padding; None without a padding mask.

        Raises:
            InputError: if the mask does not fit.
        """
        mask = self.key_padding_mask
        if mask is None:
            return None
        keys = _count(grid.keys)
        if mask.dtype != torch.bool or mask.ndim != 2 or not _fits(mask.shape, (batch, keys)):
            raise InputError(
                "key_padding_mask",
                f"{mask.dtype} of shape {tuple(mask.shape)}",
                f"booleans of shape ({batch}, {keys}), one for each key",
                "pass True at padding",
            )
        return mask

    def key_mask(self, grid: Grid, batch: int) -> Bool[Tensor, "#b 1 1 k"] | None:
        """True at keys that are no padding; None without a padding mask.

        Raises:
            InputError: if the mask does not fit.
        """
        mask = self.padding(grid, batch)
        return None if mask is None else ~mask[:, None, None, :]

    def pair_mask(self, grid: Grid, batch: int, heads: int) -> Bool[Tensor, "#b #h #q k"] | None:
        """True where the attend mask lets a query attend to a key; None without such a mask.

        Raises:
            InputError: if the mask does not fit.
        """
        mask = self.attend_mask
        if mask is None:
            return None
        queries, keys = _count(grid.queries), _count(grid.keys)
        by_rank = {2: (queries, keys), 3: (batch, queries, keys), 4: (batch, heads, queries, keys)}
        expected = by_rank.get(mask.ndim)
        if mask.dtype != torch.bool or expected is None or not _fits(mask.shape, expected):
            raise InputError(
                "attend_mask",
                f"{mask.dtype} of shape {tuple(mask.shape)}",
                " or ".join(str(shape) for shape in by_rank.values()) + ", as booleans",
                "pass True where a query may attend to a key",
            )
        return mask[:, None] if mask.ndim == 3 else mask[(None,) * (4 - mask.ndim)]


def _fits(shape: tuple[int, ...], expected: tuple[int, ...]) -> bool:
    """Whether a mask has the keys, and on every other axis the size or 1."""
    lead = zip(shape[:-1], expected[:-1], strict=True)
    return shape[-1] == expected[-1] and all(size in (1, wanted) for size, wanted in lead)


def _count(sizes: tuple[int, ...]) -> int:
    total = 1
    for size in sizes:
        total *= size
    return total
