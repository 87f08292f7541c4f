"""The weighted sum of values that are sampled at a few positions per query, on one or more maps.

    y[q] = sum over levels s and points p of weights[q, s, p] * value_s(positions[q, s, p])

Each level is a map or sequence, read between its positions by linear interpolation, and zero
outside. Each head has its own channels, positions and weights. This is the sum of deformable
attention (several levels, softmax weights) and of DCNv3 and DCNv4 (one level).

    method      memory beyond the output                derivatives
    blockwise   the samples' corners of one block       first order
    reference   those of all queries                    of every order

The multiply-adds of the reference, an embedding bag, count zero (`quatrain.cost`).

Shapes: b batch, l positions of all levels, q queries, h heads, s levels, p points, n axes, d
channels of a head, k corners of a cell, m samples (levels and points), r queries of a block times
heads.
"""

import itertools
import math
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import torch
from einops import rearrange
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import embedding_bag

from quatrain.ops.attention.custom_operator import register_operator
from quatrain.ops.compilation import is_exported_to_onnx
from quatrain.ops.derivatives import (
    ANY_ORDER,
    USE_REFERENCE,
    USE_REVERSE_MODE,
    check_transforms,
)
from quatrain.ops.precision import autocast_disabled, upcast
from quatrain.ops.sampling import Neighbours, axis_neighbours, cell_corners, weighted_gather
from quatrain.specs import InputError, SpecError
from quatrain.specs.errors import shorten

SampledSumMethod = Literal["auto", "blockwise", "reference"]
_METHODS = get_args(SampledSumMethod)

_SAMPLES = {"cpu": 2**15}
"""Samples of a block, by the type of the device: on a CPU their corners stay in the cache."""
_SAMPLES_ELSEWHERE = 2**19

with warnings.catch_warnings():
    # torch warns of the beta state of such tensors once, at the first one.
    warnings.simplefilter("ignore")
    torch.sparse_csr_tensor([0], [], [], (0, 0))


def sampled_sum(
    value: Float[Tensor, "b l h d"],
    positions: Float[Tensor, "b q h s p n"],
    weights: Float[Tensor, "b q h s p"],
    sizes: Sequence[tuple[int, ...]],
    *,
    causal: bool = False,
    method: SampledSumMethod = "auto",
) -> Float[Tensor, "b q h d"]:
    """Sum the values at each query's positions, times their weights.

    `value` lists the positions of all levels in order, and `sizes` has the size of each level;
    `positions` are coordinates on the grid of their level, counted from 0. Half precision is
    computed in float32. With `causal`, derivatives on the grid are those towards the previous
    position, as in `cell_corners`.

    Source: Zhu et al. 2021, https://arxiv.org/abs/2010.04159, equation 3.

    Raises:
        InputError: if the shapes do not fit each other.
        SpecError: if the method is unknown.
    """
    _check_shapes(value, positions, weights, sizes)
    x = upcast(value)
    operands = (x, positions.to(x.dtype), weights.to(x.dtype))
    with autocast_disabled(value):
        if choose_method(method) == "reference":
            check_transforms(operands, USE_REVERSE_MODE, order=ANY_ORDER)
            output = _reference(*operands, sizes, causal=causal)
        else:
            check_transforms(operands, USE_REFERENCE)
            output = _sampled_sum(*operands, [size for level in sizes for size in level], causal)
    return output.to(value.dtype)


def choose_method(method: SampledSumMethod = "auto") -> Literal["blockwise", "reference"]:
    """Choose the method, or check a forced one; ONNX has no custom operators.

    Source: our own.
    """
    if method not in _METHODS:
        known = ", ".join(f'"{name}"' for name in _METHODS)
        raise SpecError(f"method={shorten(method)} is not one of {known}", "method")
    onnx = is_exported_to_onnx()
    if onnx and method == "blockwise":
        text = 'method="blockwise" is a custom operator, which ONNX does not have'
        raise SpecError(f'{text}; leave it at "auto", or use "reference"', "method")
    return "reference" if onnx or method == "reference" else "blockwise"


def _check_shapes(
    value: Tensor, positions: Tensor, weights: Tensor, sizes: Sequence[tuple[int, ...]]
) -> None:
    batch, heads, axes = value.shape[0], value.shape[2], positions.shape[-1]
    for name, x in (("positions", positions), ("weights", weights)):
        shape = (x.shape[0], x.shape[2], x.shape[3])
        if shape != (batch, heads, len(sizes)):
            raise InputError(
                f"{name} of shape {tuple(x.shape)} has batch, heads and levels {shape}; "
                f"value and sizes have {(batch, heads, len(sizes))}",
                name,
            )
    if any(len(level) != axes for level in sizes):
        text = f"sizes={shorten(list(sizes))} do not have the {axes} axes of positions"
        raise InputError(f"{text}; pass one size per axis for each level", "sizes")
    if sum(map(math.prod, sizes)) != value.shape[1]:
        text = f"value has {value.shape[1]} positions, and the levels of sizes have"
        raise InputError(f"{text} {sum(map(math.prod, sizes))}; list all of them", "value")


def _reference(
    value: Float[Tensor, "b l h d"],
    positions: Float[Tensor, "b q h s p n"],
    weights: Float[Tensor, "b q h s p"],
    sizes: Sequence[tuple[int, ...]],
    *,
    causal: bool,
) -> Float[Tensor, "b q h d"]:
    batch, length, heads, _ = value.shape
    first = torch.arange(batch, device=value.device).view(-1, 1, 1, 1, 1) * length
    head = torch.arange(heads, device=value.device).view(-1, 1, 1)
    at, corner_weights = [], []
    for level, size in enumerate(sizes):
        corners, near = cell_corners(positions[:, :, :, level], size, causal=causal)
        at.append((first + corners) * heads + head)
        corner_weights.append(near * weights[:, :, :, level, :, None])
        first = first + math.prod(size)
    rows = rearrange(value, "b l h d -> (b l h) d")
    flat = [rearrange(torch.cat(x, 3), "b q h m k -> (b q h) (m k)") for x in (at, corner_weights)]
    output = weighted_gather(rows, *flat)
    return output.view(batch, positions.shape[1], heads, value.shape[3])


@dataclass(frozen=True)
class _Block:
    """The samples of consecutive queries of one example on one level.

    `at` are the rows of the corners among the values of the level, `near` the weights of the
    corners by their distance, and `weights` those of the samples.
    """

    axes: list[Neighbours]
    at: Int[Tensor, "k r p"]
    near: Float[Tensor, "k r p"]
    weights: Float[Tensor, "r p"]

    @property
    def corner_weights(self) -> Float[Tensor, "k r p"]:
        return self.near * self.weights

    def cells(self, sizes: list[int]) -> Int[Tensor, "r p"]:
        """The index of the cell of each sample; there is one more than positions on each axis."""
        index: Tensor | int = 0
        for neighbours, size in zip(self.axes, sizes, strict=True):
            index = index * (size + 1) + neighbours.place[1].clamp(0, size).int()
        return torch.as_tensor(index)

    def gradients(
        self, products: Float[Tensor, "k r p"]
    ) -> tuple[Float[Tensor, "r p"], list[Float[Tensor, "r p"]]]:
        """The gradients of the weights and of the coordinates on each axis.

        `products` are those of the output's gradient with the values at the corners; they are
        summed over one axis of the corners after the other.
        """
        total = products.unflatten(0, (2,) * len(self.axes))
        by_axis: list[Tensor] = []
        for neighbours in self.axes:
            weight, slope = neighbours.weight, neighbours.slope
            by_axis = [_contract(x, weight) for x in by_axis] + [_contract(total, slope)]
            total = _contract(total, weight)
        return total, [x * self.weights for x in by_axis]


def _contract(x: Float[Tensor, "2 *k r p"], y: Float[Tensor, "2 r p"]) -> Float[Tensor, "*k r p"]:
    return torch.addcmul(x[0] * y[0], x[1], y[1])


@dataclass(frozen=True)
class _SampledSum:
    """The operator's arguments, and its two passes."""

    value: Float[Tensor, "b l h d"]
    positions: Float[Tensor, "b q h s p n"]
    weights: Float[Tensor, "b q h s p"]
    sizes: list[list[int]]
    causal: bool

    def forward(self) -> Float[Tensor, "b q h d"]:
        output = self.value.new_zeros(*self.positions.shape[:3], self.value.shape[3])
        for example, queries in itertools.product(range(len(output)), self._blocks()):
            sums = output[example, queries].flatten(0, 1)
            for level in range(len(self.sizes)):
                block = self._block(example, level, queries)
                rows = self._rows(self.value, example, level)
                for at, weights in zip(block.at, block.corner_weights, strict=True):
                    sums += embedding_bag(at, rows, per_sample_weights=weights, mode="sum")
        return output

    def backward(self, grad_output: Float[Tensor, "b q h d"]) -> list[Tensor]:
        grad_value = torch.zeros_like(self.value)
        grad_positions = torch.empty_like(self.positions)
        grad_weights = torch.empty_like(self.weights)
        examples = range(len(self.value) if self.weights.numel() else 0)
        for example, level in itertools.product(examples, range(len(self.sizes))):
            rows = self._rows(self.value, example, level)
            all_weights = self.weights[example, :, :, level]
            cells = torch.empty_like(all_weights, dtype=torch.int32)
            corners = all_weights.new_empty(2 ** self.positions.shape[-1], *all_weights.shape)
            for queries in self._blocks():
                block = self._block(example, level, queries)
                y = grad_output[example, queries].flatten(0, 1)
                cells[queries] = block.cells(self.sizes[level]).view_as(cells[queries])
                corners[:, queries] = block.corner_weights.view_as(corners[:, queries])
                products = torch.stack([_products(y, rows, at) for at in block.at])
                index = (example, queries, slice(None), level)
                shape = grad_weights[index].shape
                grad, by_axis = block.gradients(products)
                grad_weights[index] = grad.view(shape)
                for axis, grad in enumerate(by_axis):
                    grad_positions[(*index, ..., axis)] = grad.view(shape)
            y = grad_output[example].flatten(0, 1)
            grad_rows = self._rows(grad_value, example, level)
            _scatter(y, cells, corners.flatten(1), grad_rows, self.sizes[level])
        return [grad_value, grad_positions, grad_weights]

    def _rows(self, x: Float[Tensor, "b l h d"], example: int, level: int) -> Float[Tensor, "lh d"]:
        start = sum(map(math.prod, self.sizes[:level]))
        return x[example, start : start + math.prod(self.sizes[level])].flatten(0, 1)

    def _blocks(self) -> Iterator[slice]:
        count, heads, _, points = self.weights.shape[1:]
        samples = _SAMPLES.get(self.value.device.type, _SAMPLES_ELSEWHERE)
        length = max(1, samples // max(1, heads * points))
        for start in range(0, count, length):
            yield slice(start, min(start + length, count))

    def _block(self, example: int, level: int, queries: slice) -> _Block:
        positions = self.positions[example, queries, :, level].flatten(0, 1)
        weights = self.weights[example, queries, :, level]
        heads, sizes = weights.shape[1], self.sizes[level]
        head = torch.arange(heads, device=weights.device, dtype=torch.int32)
        axes = [
            axis_neighbours(axis, size, causal=self.causal)
            for axis, size in zip(positions.unbind(-1), sizes, strict=True)
        ]
        at, near = axes[0].index.int() * heads, axes[0].weight
        for neighbours, size in zip(axes[1:], sizes[1:], strict=True):
            index = neighbours.index.int() * heads
            at = ((at * size)[:, None] + index).flatten(0, 1)
            near = (near[:, None] * neighbours.weight).flatten(0, 1)
        at += head.repeat(len(weights))[:, None]
        return _Block(axes, at, near, weights.flatten(0, 1))


def _products(
    y: Float[Tensor, "r d"], rows: Float[Tensor, "lh d"], at: Int[Tensor, "r p"]
) -> Float[Tensor, "r p"]:
    """The dot products of each query's gradient with the values at one corner of each sample.

    They are the entries of y @ rows.T at the corners, which torch computes on a CPU without a copy
    of the values; it does not take more corners than the product has entries.
    """
    if at.shape[1] >= len(rows) or y.device.type != "cpu":
        return torch.linalg.vecdot(y[:, None], rows[at])
    first = torch.arange(0, at.numel() + 1, at.shape[1], device=at.device, dtype=at.dtype)
    zeros = y.new_zeros(at.numel())
    pattern = torch.sparse_csr_tensor(first, at.flatten(), zeros, (len(y), len(rows)))
    return torch.sparse.sampled_addmm(pattern, y, rows.T, beta=0.0).values().view(at.shape)


def _scatter(
    y: Float[Tensor, "r d"],
    cells: Int[Tensor, "q h p"],
    weights: Float[Tensor, "k qhp"],
    rows: Float[Tensor, "lh d"],
    sizes: list[int],
) -> None:
    """Add each query's gradient, times the weights of its corners, to the rows of the corners.

    Samples are sorted by their cell, and each corner of a cell is the sum of a bag of samples.
    """
    heads, points = cells.shape[1:]
    grid = [size + 1 for size in sizes]
    head = torch.arange(heads, device=cells.device, dtype=cells.dtype)
    keys, order = (cells * heads + head[:, None]).flatten().sort()
    bags = torch.bincount(keys, minlength=math.prod(grid) * heads)
    first = (bags.cumsum(0) - bags).int()
    query = torch.arange(len(y), device=cells.device, dtype=torch.int32)
    query = query.repeat_interleave(points)[order]
    target = rows.view(*sizes, heads, -1)
    for weight, corner in zip(weights, itertools.product((0, 1), repeat=len(sizes)), strict=True):
        sums = embedding_bag(query, y, first, per_sample_weights=weight[order], mode="sum")
        inner = tuple(
            slice(1 - step, 1 - step + size) for step, size in zip(corner, sizes, strict=True)
        )
        target += sums.view(*grid, heads, -1)[inner]


def _parse(arguments: Sequence[Any]) -> _SampledSum:
    value, positions, weights, sizes, causal = arguments
    axes = positions.shape[-1]
    levels = [list(sizes[start : start + axes]) for start in range(0, len(sizes), axes)]
    tensors = (value.contiguous(), positions.contiguous(), weights.contiguous())
    return _SampledSum(*tensors, levels, causal)


def _forward(*arguments: Any) -> Tensor:
    with autocast_disabled(arguments[0]):
        return _parse(arguments).forward()


def _fake(*arguments: Any) -> Tensor:
    value, positions = arguments[:2]
    return value.new_empty(*positions.shape[:3], value.shape[3])


def _backward(grad_output: Tensor, results: list[Tensor], *arguments: Any) -> list[Tensor]:
    del results
    with autocast_disabled(grad_output):
        return _parse(arguments).backward(grad_output)


_sampled_sum = register_operator(
    "quatrain::sampled_sum",
    "Tensor value, Tensor positions, Tensor weights, SymInt[] sizes, bool causal",
    forward=_forward,
    fake=_fake,
    backward=_backward,
    differentiable=(0, 1, 2),
)
