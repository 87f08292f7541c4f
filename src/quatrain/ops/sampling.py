"""Reading a sequence or a map between its positions: linear interpolation, and zero outside.

A real position on a grid of n axes lies in a cell with 2**n corners. `corners` gives where they
are and how near; three sums over them follow, each the derivative of the other two, so all of
them can be differentiated any number of times, and none holds more than one corner's content:

    gather(rows, at, near)          y[p]     = sum over c of near[p, c] * rows[at[p, c]]
    scatter(y, at, near, length)    rows[i]  = sum over p, c with at[p, c] = i of near[p, c] * y[p]
    match(y, rows, at)              near[p, c] = y[p] . rows[at[p, c]]

Shapes: p positions, n axes, k corners, l rows, e channels.
"""

import itertools

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import embedding_bag


def corners(
    positions: Float[Tensor, "*p n"], sizes: tuple[int, ...], *, causal: bool = False
) -> tuple[Int[Tensor, "*p k"], Float[Tensor, "*p k"]]:
    """The flat index and the weight of every corner of the cell around each position.

    A corner outside of the grid has weight 0 (and the index of some position inside), and so has
    every corner of a position that is not a number. Where a position lies on the grid, its
    derivative is the one towards the next position, or the previous one if `causal`.

    Source: Zhu et al. 2019, https://arxiv.org/abs/1904.05873, equation 4 (the kernel G).
    """
    edges = positions.new_tensor(sizes)
    inside = ((positions >= -1) & (positions <= edges)).all(-1, keepdim=True)
    within = torch.where(inside, positions, 0.0)
    low = within.detach().ceil() - 1 if causal else within.detach().floor()
    beyond = within - low
    first = low.long()
    places: list[Tensor] = []
    weights: list[Tensor] = []
    for corner in itertools.product((0, 1), repeat=len(sizes)):
        place = torch.zeros_like(first[..., 0])
        weight = inside[..., 0].to(positions.dtype)
        for axis, (step, size) in enumerate(zip(corner, sizes, strict=True)):
            at = first[..., axis] + step
            near = beyond[..., axis] if step else 1 - beyond[..., axis]
            weight = weight * torch.where((at >= 0) & (at < size), near, 0.0)
            place = place * size + at.clamp(0, size - 1)
        places.append(place)
        weights.append(weight)
    return torch.stack(places, -1), torch.stack(weights, -1)


def gather(
    rows: Float[Tensor, "l e"], at: Int[Tensor, "p k"], near: Float[Tensor, "p k"]
) -> Float[Tensor, "p e"]:
    """The weighted sum of the rows at each position's corners.

    Source: Zhu et al. 2019, https://arxiv.org/abs/1904.05873, equation 4.
    """
    return _Gather.apply(rows, at, near)


def scatter(
    y: Float[Tensor, "p e"], at: Int[Tensor, "p k"], near: Float[Tensor, "p k"], length: int
) -> Float[Tensor, "l e"]:
    """Each position's content, spread over its corners: `gather`, transposed."""
    return _Scatter.apply(y, at, near, length)


def match(
    y: Float[Tensor, "p e"], rows: Float[Tensor, "l e"], at: Int[Tensor, "p k"]
) -> Float[Tensor, "p k"]:
    """The dot product of each position's content with the row at each of its corners."""
    return _Match.apply(y, rows, at)


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(rows, at, near):  # noqa: ANN001, ANN205 - autograd's signature
        return embedding_bag(at, rows, per_sample_weights=near, mode="sum")

    @staticmethod
    def setup_context(ctx, inputs, output):  # noqa: ANN001, ANN205
        del output
        ctx.save_for_backward(*inputs)

    @staticmethod
    def backward(ctx, gradient):  # noqa: ANN001, ANN205
        rows, at, near = ctx.saved_tensors
        to_rows = scatter(gradient, at, near, rows.shape[0]) if ctx.needs_input_grad[0] else None
        to_near = match(gradient, rows, at) if ctx.needs_input_grad[2] else None
        return to_rows, None, to_near


class _Scatter(torch.autograd.Function):
    @staticmethod
    def forward(y, at, near, length):  # noqa: ANN001, ANN205
        total = y.new_zeros(length, y.shape[1])
        for corner in range(at.shape[1]):
            total.index_add_(0, at[:, corner], y * near[:, corner, None])
        return total

    @staticmethod
    def setup_context(ctx, inputs, output):  # noqa: ANN001, ANN205
        del output
        ctx.save_for_backward(*inputs[:3])

    @staticmethod
    def backward(ctx, gradient):  # noqa: ANN001, ANN205
        y, at, near = ctx.saved_tensors
        to_y = gather(gradient, at, near) if ctx.needs_input_grad[0] else None
        to_near = match(y, gradient, at) if ctx.needs_input_grad[2] else None
        return to_y, None, to_near, None


class _Match(torch.autograd.Function):
    @staticmethod
    def forward(y, rows, at):  # noqa: ANN001, ANN205
        found = [torch.linalg.vecdot(y, rows[at[:, corner]]) for corner in range(at.shape[1])]
        return torch.stack(found, -1)

    @staticmethod
    def setup_context(ctx, inputs, output):  # noqa: ANN001, ANN205
        del output
        ctx.save_for_backward(*inputs)

    @staticmethod
    def backward(ctx, gradient):  # noqa: ANN001, ANN205
        y, rows, at = ctx.saved_tensors
        to_y = gather(rows, at, gradient) if ctx.needs_input_grad[0] else None
        to_rows = scatter(y, at, gradient, rows.shape[0]) if ctx.needs_input_grad[1] else None
        return to_y, to_rows, None
