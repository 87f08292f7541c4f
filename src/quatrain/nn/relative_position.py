"""Relative position encodings of attention, projected for each head, and a cache for decoding.

Shapes: l relative positions along an axis, h heads, d width of a head.
"""

from collections.abc import Callable
from typing import cast

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from quatrain.nn.layers import Projection
from quatrain.ops.positions import Grid, sinusoid

_INITIAL_LENGTH = 32
"""Offsets to the past that a cache has at first."""


class RelativePosition(nn.ModuleList):
    """V^R R_{k-q} for each relative position: sinusoidal encodings, and a projection V^R per axis.

    Source: Zhu et al. 2019, https://arxiv.org/abs/1904.05873, equation 2.
    Differs: the encodings of the axes of a map are projected separately and divided by the root
        of 2, as in the released vision code; summed, they have the variance of the paper's
        concatenation.
    """

    heads: int
    wavelength: float

    def __init__(self, channels: int, heads: int, ndim: int, wavelength: float) -> None:
        super().__init__(Projection(channels // ndim, channels, bias=False) for _ in range(ndim))
        self.heads, self.wavelength = heads, wavelength

    def forward(self, grid: Grid) -> tuple[Float[Tensor, "h _ d"], ...]:
        """The projected encodings of all relative positions of `grid`, one tensor per axis."""
        device = self._projection(0).weight.device
        return tuple(
            self._encode(grid.relative_tensor(axis, device), axis) for axis in range(len(self))
        )

    def between(self, positions: range) -> Float[Tensor, "h l d"]:
        """The projected encodings of consecutive relative positions of a sequence."""
        device = self._projection(0).weight.device
        return self._encode(torch.arange(positions.start, positions.stop, device=device), 0)

    def _projection(self, axis: int) -> Projection:
        return cast("Projection", self[axis])

    def _encode(self, positions: Int[Tensor, " l"], axis: int) -> Float[Tensor, "h l d"]:
        projection = self._projection(axis)
        dtype = projection.weight.dtype
        encoding = sinusoid(positions, projection.in_features, self.wavelength, dtype)
        projected = projection(encoding.to(dtype)) * len(self) ** -0.5
        return projected.unflatten(1, (self.heads, -1)).transpose(0, 1)


class RelativePositionCache:
    """Cached tensors by relative position: encodings, or the numbers of a position bias.

    Each step of a decoding needs them again. When a relative position is missing, the cache
    doubles, so the cost of computing them is amortized.

    Source: Zhu et al. 2019, https://arxiv.org/abs/1904.05873, equation 2 (V^R R_{k-q}).
    """

    def __init__(self, compute: Callable[[range], Float[Tensor, "h l *d"]]) -> None:
        self._compute = compute
        self._cached = range(0)
        self._table: Tensor | None = None

    def between(self, positions: range) -> Float[Tensor, "h l *d"]:
        """The tensor of consecutive positions; computed again if gradients are enabled."""
        if torch.is_grad_enabled():
            return self._compute(positions)
        cached = self._cached
        if self._table is None or positions.start < cached.start or positions.stop > cached.stop:
            first = min(2 * positions.start, cached.start, -_INITIAL_LENGTH)
            self._cached = range(first, max(positions.stop, cached.stop))
            self._table = self._compute(self._cached)
        start = positions.start - self._cached.start
        return self._table[:, start : start + len(positions)]
