"""The support of each query, the keys that it may attend to: structure and masks.

Shapes: b batch, h heads, q queries, k keys. Axes of size 1 are broadcast.
"""

import functools
import math
import operator
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from quatrain.ops.positions import Grid
from quatrain.specs import InputError


@dataclass(frozen=True)
class Structure:
    """A support without the contents of its masks; methods are chosen by it.

    Source: Zhu et al. 2019, https://arxiv.org/abs/1904.05873, equation 1.
    """

    causal: bool = False
    window: int | None = None
    has_key_padding: bool = False
    has_attn_mask: bool = False
    null_key: bool = False

    @property
    def depends_on_query(self) -> bool:
        """Whether the support may differ from query to query."""
        return self.causal or self.window is not None or self.has_attn_mask

    def check(self, grid: Grid) -> None:
        """Check causality and window against the grid."""
        if self.window is not None and (self.window < 1 or self.window % 2 == 0):
            raise InputError(f"window={self.window} is not one of 1, 3, 5, 7, ...", "window")
        if self.causal and grid.ndim != 1:
            raise InputError("causal=True works on sequences only; leave it out on a map", "causal")

    def allows(self, relative: Int[Tensor, "..."]) -> Bool[Tensor, "..."]:
        """True at relative positions along an axis that causality and window allow."""
        if self.causal:
            past = relative <= 0
            return past if self.window is None else past & (relative > -self.window)
        if self.window is None:
            return torch.ones_like(relative, dtype=torch.bool)
        return relative.abs() <= self.window // 2

    def key_range(self, grid: Grid, axis: int, first: int, last: int) -> range:
        """The indices of the keys along `axis` that queries `first` to `last` may attend to."""
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
"""Every query may attend to every key."""


@dataclass(frozen=True)
class Support:
    """The keys that each query may attend to; by default all of them.

    `causal`: only keys at or before the query (sequences).
    `window`: only keys within a centred window of this odd width per axis; together with `causal`,
        the `window` positions that end at the query.
    `key_padding_mask`: True marks padding, per key.
    `attend_mask`: True marks pairs that may attend.
    `null_key`: every query may also attend to nothing: its softmax has one more key, of logit 0 and
        value zero, which is not counted among the keys.

    Source: Zhu et al. 2019, https://arxiv.org/abs/1904.05873, equation 1 (the region is named
        Omega_q) and section 4.2 (range-limited terms). The null key: Miller 2023,
        https://www.evanmiller.org/attention-is-off-by-one.html; Xiao et al. 2023,
        https://arxiv.org/abs/2309.17453, section 3.3.
    Differs: the paper does not say how a window combines with causality; ours has as many keys as
        the centred one, so that it compares with a causal convolution of that width.
    """

    causal: bool = False
    window: int | None = None
    key_padding_mask: Bool[Tensor, "b k"] | None = None
    attend_mask: Bool[Tensor, "..."] | None = None
    null_key: bool = False

    @property
    def structure(self) -> Structure:
        """This support without the contents of its masks."""
        return Structure(
            self.causal,
            self.window,
            has_key_padding=self.key_padding_mask is not None,
            has_attn_mask=self.attend_mask is not None,
            null_key=self.null_key,
        )

    def mask(
        self, grid: Grid, value: Float[Tensor, "b h k e"]
    ) -> Bool[Tensor, "#b #h #q k"] | None:
        """All restrictions as one mask, True where a query may attend; None without any."""
        batch, heads = value.shape[:2]
        structure = self._structure_mask(grid, value.device)
        parts = [structure, self.key_mask(grid, batch), self.pair_mask(grid, batch, heads)]
        masks = [part for part in parts if part is not None]
        return functools.reduce(operator.and_, masks) if masks else None

    def _structure_mask(self, grid: Grid, device: torch.device) -> Bool[Tensor, "1 1 q k"] | None:
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
        return self.structure.allows(grid.relative_matrix(axis, device))

    def padding(self, grid: Grid, batch: int) -> Bool[Tensor, "#b k"] | None:
        """True at padding; None without a padding mask."""
        mask = self.key_padding_mask
        if mask is None:
            return None
        keys = math.prod(grid.keys)
        if mask.dtype != torch.bool or mask.ndim != 2 or not _fits(mask.shape, (batch, keys)):
            raise InputError(
                f"key_padding_mask is {mask.dtype} of shape {tuple(mask.shape)}; "
                f"pass booleans of shape ({batch}, {keys}), True at keys that are padding",
                "key_padding_mask",
            )
        return mask

    def key_mask(self, grid: Grid, batch: int) -> Bool[Tensor, "#b 1 1 k"] | None:
        """True at keys that are not padding; None without a padding mask."""
        mask = self.padding(grid, batch)
        return None if mask is None else ~mask[:, None, None, :]

    def pair_mask(self, grid: Grid, batch: int, heads: int) -> Bool[Tensor, "#b #h #q k"] | None:
        """The attend mask with axes for batch and heads; None without such a mask."""
        mask = self.attend_mask
        if mask is None:
            return None
        queries, keys = math.prod(grid.queries), math.prod(grid.keys)
        by_rank = {2: (queries, keys), 3: (batch, queries, keys), 4: (batch, heads, queries, keys)}
        expected = by_rank.get(mask.ndim)
        if mask.dtype != torch.bool or expected is None or not _fits(mask.shape, expected):
            shapes = " or ".join(map(str, by_rank.values()))
            raise InputError(
                f"attend_mask is {mask.dtype} of shape {tuple(mask.shape)}; "
                f"pass booleans of shape {shapes}, True where a query may attend to a key",
                "attend_mask",
            )
        return mask[:, None] if mask.ndim == 3 else mask[(None,) * (4 - mask.ndim)]


def _fits(shape: tuple[int, ...], expected: tuple[int, ...]) -> bool:
    """Whether a mask has the number of keys, and on every other axis the expected size or 1."""
    lead = zip(shape[:-1], expected[:-1], strict=True)
    return shape[-1] == expected[-1] and all(size in (1, other) for size, other in lead)
