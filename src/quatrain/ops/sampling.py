"""Sample a sequence or a map at real positions: linear interpolation, and zero outside.

A real position on a grid of n axes lies in a cell with 2**n corners. `cell_corners` gives their
indices and weights; three sums over corners follow. Each is the derivative of the other two, so
all can be differentiated any number of times, and none stores more than one corner's content:

    weighted_gather     y[p]          = sum over c of weights[p, c] * rows[at[p, c]]
    weighted_scatter    rows[i]       = sum over p, c with at[p, c] = i of weights[p, c] * y[p]
    corner_products     weights[p, c] = y[p] . rows[at[p, c]]

Shapes: p positions, n axes, k corners, l rows, e channels.
"""

import itertools
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import embedding_bag

from quatrain.ops.derivatives import SavingInputs
from quatrain.ops.positions import is_symbolic


def cell_corners(
    positions: Float[Tensor, "*p n"], sizes: tuple[int, ...], *, causal: bool = False
) -> tuple[Int[Tensor, "*p k"], Float[Tensor, "*p k"]]:
    """The flat index and the weight of every corner of the cell around each position.

    A corner outside of the grid has weight 0 (and some index inside), and so has every corner of a
    NaN position. Where a position lies on the grid, its derivative is the one towards the next
    position, or towards the previous one if `causal`.

    Source: Zhu et al. 2019, https://arxiv.org/abs/1904.05873, equation 4 (the kernel G).
    """
    inside = ((positions >= -1) & (positions <= _edges(positions, sizes))).all(-1, keepdim=True)
    positions = torch.where(inside, positions, 0.0)
    low = positions.detach().ceil() - 1 if causal else positions.detach().floor()
    fraction = positions - low
    first = low.long()
    indices: list[Tensor] = []
    weights: list[Tensor] = []
    for corner in itertools.product((0, 1), repeat=len(sizes)):
        index = torch.zeros_like(first[..., 0])
        weight = inside[..., 0].to(positions.dtype)
        for axis, (step, size) in enumerate(zip(corner, sizes, strict=True)):
            at = first[..., axis] + step
            near = fraction[..., axis] if step else 1 - fraction[..., axis]
            weight = weight * torch.where((at >= 0) & (at < size), near, 0.0)
            index = index * size + at.clamp(0, size - 1)
        indices.append(index)
        weights.append(weight)
    return torch.stack(indices, -1), torch.stack(weights, -1)


def _edges(positions: Float[Tensor, "*p n"], sizes: tuple[int, ...]) -> Float[Tensor, " n"]:
    """The sizes as a tensor; symbols stay symbols."""
    if not is_symbolic(*sizes):
        return positions.new_tensor(sizes)
    return torch.stack([positions.new_full((), size) for size in sizes])


@dataclass(frozen=True)
class Neighbours:
    """The two grid positions around each real position on an axis, before and after it.

    Where one is outside of the grid its weight is 0. With the slopes, an operator that computes its
    own gradients needs no graph of `cell_corners`.
    """

    place: Float[Tensor, "2 ..."]
    inside: Float[Tensor, "2 ..."]
    """1 inside of the grid, 0 outside."""
    weight: Float[Tensor, "2 ..."]

    @property
    def index(self) -> Int[Tensor, "2 ..."]:
        """The index on the grid; 0 outside."""
        return (self.place * self.inside).long()

    @property
    def slope(self) -> Float[Tensor, "2 ..."]:
        """The derivative of the weight by the real position."""
        return torch.stack((-self.inside[0], self.inside[1]))


def axis_neighbours(
    positions: Float[Tensor, "*p"], size: int, *, causal: bool = False
) -> Neighbours:
    """The grid positions before and after each position on an axis, as in `cell_corners`.

    Source: Zhu et al. 2019, https://arxiv.org/abs/1904.05873, equation 4 (the kernel g).
    """
    positions = positions.nan_to_num(nan=-2.0).clamp(-2, size + 1)
    low = positions.detach().ceil() - 1 if causal else positions.detach().floor()
    fraction = positions - low
    place = torch.stack((low, low + 1))
    inside = ((place >= 0) & (place < size)).to(positions.dtype)
    return Neighbours(place, inside, torch.stack((1 - fraction, fraction)) * inside)


def weighted_gather(
    rows: Float[Tensor, "l e"], at: Int[Tensor, "p k"], weights: Float[Tensor, "p k"]
) -> Float[Tensor, "p e"]:
    """The weighted sum of the rows at each position's corners.

    Source: Zhu et al. 2019, https://arxiv.org/abs/1904.05873, equation 4.
    """
    return _Gather.apply(rows, at, weights)


def weighted_scatter(
    y: Float[Tensor, "p e"], at: Int[Tensor, "p k"], weights: Float[Tensor, "p k"], length: int
) -> Float[Tensor, "l e"]:
    """`weighted_gather` transposed: add each position's content to the rows of its corners."""
    return _Scatter.apply(y, at, weights, length)


def corner_products(
    y: Float[Tensor, "p e"], rows: Float[Tensor, "l e"], at: Int[Tensor, "p k"]
) -> Float[Tensor, "p k"]:
    """The dot product of each position's content with the row at each of its corners."""
    return _Products.apply(y, rows, at)


class _Gather(SavingInputs):
    @staticmethod
    def forward(rows, at, weights):  # noqa: ANN001, ANN205 - autograd's signature
        return embedding_bag(at, rows, per_sample_weights=weights, mode="sum")

    @staticmethod
    def backward(ctx, grad_y):  # noqa: ANN001, ANN205
        rows, at, weights = ctx.saved_tensors
        needs_rows, _, needs_weights = ctx.needs_input_grad
        grad_rows = weighted_scatter(grad_y, at, weights, rows.shape[0]) if needs_rows else None
        grad_weights = corner_products(grad_y, rows, at) if needs_weights else None
        return grad_rows, None, grad_weights


class _Scatter(SavingInputs):
    @staticmethod
    def forward(y, at, weights, length):  # noqa: ANN001, ANN205
        total = y.new_zeros(length, y.shape[1])
        for corner in range(at.shape[1]):
            total.index_add_(0, at[:, corner], y * weights[:, corner, None])
        return total

    @staticmethod
    def backward(ctx, grad_rows):  # noqa: ANN001, ANN205
        y, at, weights = ctx.saved_tensors
        grad_y = weighted_gather(grad_rows, at, weights) if ctx.needs_input_grad[0] else None
        grad_weights = corner_products(y, grad_rows, at) if ctx.needs_input_grad[2] else None
        return grad_y, None, grad_weights, None


class _Products(SavingInputs):
    @staticmethod
    def forward(y, rows, at):  # noqa: ANN001, ANN205
        products = [torch.linalg.vecdot(y, rows[at[:, corner]]) for corner in range(at.shape[1])]
        return torch.stack(products, -1)

    @staticmethod
    def backward(ctx, grad_products):  # noqa: ANN001, ANN205
        y, rows, at = ctx.saved_tensors
        needs_y, needs_rows, _ = ctx.needs_input_grad
        grad_y = weighted_gather(rows, at, grad_products) if needs_y else None
        grad_rows = weighted_scatter(y, at, grad_products, rows.shape[0]) if needs_rows else None
        return grad_y, grad_rows, None
