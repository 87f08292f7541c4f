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
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn.functional import embedding_bag

from quatrain.ops.derivatives import SavingInputs


def cell_corners(
    positions: Float[Tensor, "*p n"], sizes: tuple[int, ...], *, causal: bool = False
) -> tuple[Int[Tensor, "*p k"], Float[Tensor, "*p k"]]:
    """The flat index and the weight of every corner of the cell around each position.

    A corner outside of the grid has weight 0 (and some index inside), and so has every corner of a
    NaN position. Where a position lies on the grid, its derivative is the one towards the next
    position, or towards the previous one if `causal`.

    Source: Zhu et al. 2019, https://arxiv.org/abs/1904.05873, equation 4 (the kernel G).
    """
    pairs = [
        axis_neighbours(positions[..., axis], size, causal=causal)
        for axis, size in enumerate(sizes)
    ]
    indices: list[Tensor] = []
    weights: list[Tensor] = []
    for corner in itertools.product((0, 1), repeat=len(sizes)):
        neighbours = [pair[step] for pair, step in zip(pairs, corner, strict=True)]
        index, weight = neighbours[0].index, neighbours[0].weight
        for size, neighbour in zip(sizes[1:], neighbours[1:], strict=True):
            index = index * size + neighbour.index
            weight = weight * neighbour.weight
        indices.append(index)
        weights.append(weight)
    return torch.stack(indices, -1), torch.stack(weights, -1)


@dataclass(frozen=True)
class Neighbours:
    """One of the two grid positions around each real position on an axis.

    Outside of the grid its weight is 0.
    """

    place: Float[Tensor, "*p"]
    inside: Bool[Tensor, "*p"]
    weight: Float[Tensor, "*p"]
    direction: int
    """1 for the position after, -1 for the one before."""

    @property
    def index(self) -> Int[Tensor, "*p"]:
        """The index on the grid; 0 outside."""
        return torch.where(self.inside, self.place, 0.0).long()

    @property
    def slope(self) -> Float[Tensor, "*p"]:
        """The derivative of the weight by the real position."""
        return self.inside.to(self.weight.dtype).mul_(self.direction)


def axis_neighbours(
    positions: Float[Tensor, "*p"], size: int, *, causal: bool = False
) -> tuple[Neighbours, Neighbours]:
    """The grid positions before and after each position on an axis, as in `cell_corners`.

    Source: Zhu et al. 2019, https://arxiv.org/abs/1904.05873, equation 4 (the kernel g).
    """
    positions = torch.where((positions >= -1) & (positions <= size), positions, -2.0)
    low = positions.detach().ceil() - 1 if causal else positions.detach().floor()
    fraction = positions - low
    pair: list[Neighbours] = []
    for place, weight, direction in ((low, 1 - fraction, -1), (low + 1, fraction, 1)):
        inside = (place >= 0) & (place < size)
        pair.append(Neighbours(place, inside, torch.where(inside, weight, 0.0), direction))
    return pair[0], pair[1]


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
