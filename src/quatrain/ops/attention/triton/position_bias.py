"""Row and column bias of a map by Triton kernels, computed from the operands, and their gradients.

The biased query of key content is computed along with them.

Shapes: b batch, h heads, q queries, y rows and x columns of keys, k keys along an axis, l relative
positions along it, d width of a head; t is b, or 1 where no term depends on the query's content.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from quatrain.ops.attention.blockwise.inputs import mask_value
from quatrain.ops.positions import Grid
from quatrain.ops.terms import Operands
from quatrain.specs import Term

MASK_VALUE = mask_value(torch.float32)
"""The logit of a masked pair, also in float64."""

MASK_THRESHOLD = MASK_VALUE / 2
"""Sums of logits, and logsumexps, are masked up to here."""

TILE = 64
"""Queries per program, and encodings per program where they have 16 bits."""

FLOAT32_TILE = 32
"""Encodings per program where they have more bits: with 64, registers spill."""

UNLIMITED_REACH = 2**30
"""A distance that exceeds every map."""

CHUNKS = 32
"""Parts into which queries are divided for the gradients of encodings."""


@dataclass(frozen=True)
class AttentionCall:
    """The arguments of one attention on a map; all operands are contiguous.

    `axial`: no term depends on the query's content, biases are per coordinate of a query along
    each axis, and encodings are not rounded to 16 bits. Kernels are compiled for the scale of the
    operands: as an argument it would be rounded to float32.
    """

    terms: Term
    operands: Operands
    grid: Grid
    window: int | None = None
    axial: bool = False

    @cached_property
    def exact(self) -> torch.dtype:
        """The type of the biases: at least float32, whatever that of the values."""
        return torch.promote_types(self.operands.value.dtype, torch.float32)

    @cached_property
    def encoding_dtype(self) -> torch.dtype:
        """The type in which encodings are multiplied."""
        return self.exact if self.axial else self.operands.value.dtype

    @cached_property
    def flags(self) -> dict[str, bool]:
        """Which terms are on, by name."""
        return {term.name or "": self.terms.has(term) for term in Term}

    @cached_property
    def batch(self) -> int:
        """How many batch elements have biases of their own."""
        return self.operands.value.shape[0] if self.flags["QUERY_POSITION"] else 1

    @cached_property
    def queries(self) -> tuple[int, int]:
        """How many queries the row bias has, and the column bias."""
        height, width = self.grid.queries
        return (height, width) if self.axial else (height * width, height * width)

    @cached_property
    def shapes(self) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Shapes of the row bias and of the column bias."""
        lead = (self.batch, self.operands.value.shape[1])
        queries, keys = self.queries, self.grid.keys
        rows = (queries[0], keys[0]) if self.axial else (keys[0], queries[0])
        return (*lead, *rows), (*lead, queries[1], keys[1])


@dataclass(frozen=True)
class PositionBias:
    """Position logits by row and by column, and the biased query of key content, if any.

    Beyond a window they are `MASK_VALUE`.
    """

    rows: Float[Tensor, "t h _ _"]
    columns: Float[Tensor, "t h q x"]
    query: Float[Tensor, "b h q d"] | None


@dataclass(frozen=True)
class PositionBiasGrads:
    """Gradients of the operands of position bias; None where there is no such operand."""

    query: Float[Tensor, "b h q d"] | None
    content_vector: Float[Tensor, "h d"] | None
    position_vector: Float[Tensor, "h d"] | None
    relative: tuple[Float[Tensor, "h _ d"], Float[Tensor, "h _ d"]]


def position_bias(call: AttentionCall) -> PositionBias:
    """Row and column bias of a map, in float32 at least.

    Source: Zhu et al. 2019, https://arxiv.org/abs/1904.05873, equation 2.
    """
    from quatrain.ops.attention.triton import position_bias_kernels as kernels

    value, query = call.operands.value, call.operands.query
    biased = None
    if call.flags["QUERY_KEY"] and query is not None:
        biased = torch.empty_like(query, dtype=value.dtype)
    rows, columns = (value.new_empty(shape, dtype=call.exact) for shape in call.shapes)
    programs = (_query_tiles(call) * _heads(call), 2)
    arguments = (_kernel_operands(call), value if biased is None else biased, (rows, columns))
    flags = {**call.flags, "MASK_VALUE": MASK_VALUE}
    _launch(kernels.position_bias_kernel, programs, call, *arguments, **flags)
    return PositionBias(rows, columns, biased)


def position_bias_backward(
    call: AttentionCall,
    grad_rows: Float[Tensor, "t h _ _"],
    grad_columns: Float[Tensor, "t h q x"],
    grad_biased_query: Float[Tensor, "b h q d"] | None,
) -> PositionBiasGrads:
    """Gradients of the operands, from those of both biases and of the biased query.

    Source: Zhu et al. 2019, https://arxiv.org/abs/1904.05873, equation 2.
    """
    from quatrain.ops.attention.triton import position_bias_kernels as kernels

    flags, operands = call.flags, call.operands
    value, query = operands.value, operands.query
    grad_biases, kernel_operands = (grad_rows, grad_columns), _kernel_operands(call)
    tiles, heads = _query_tiles(call), _heads(call)
    parts = (tiles, heads // value.shape[1], value.shape[1], operands.relative[0].shape[-1])
    grad_query = None if query is None else torch.empty_like(query)
    grad_content_vector, grad_position_vector = (
        grad_rows.new_empty(parts) if needed else None
        for needed in (grad_biased_query is not None and flags["KEY"], flags["POSITION"])
    )
    outputs = fill_missing((grad_query, grad_content_vector, grad_position_vector), value)
    _launch(
        kernels.position_query_grads_kernel,
        (tiles * heads,),
        call,
        grad_biases,
        kernel_operands,
        value if grad_biased_query is None else grad_biased_query,
        outputs,
        **call.flags,
    )
    return PositionBiasGrads(
        grad_query,
        _sum_parts(grad_content_vector, operands.content_vector),
        _sum_parts(grad_position_vector, operands.position_vector),
        _encoding_grads(call, grad_biases, kernel_operands),
    )


def _encoding_grads(
    call: AttentionCall, grad_biases: tuple[Tensor, Tensor], kernel_operands: tuple[Tensor, ...]
) -> tuple[Float[Tensor, "h _ d"], Float[Tensor, "h _ d"]]:
    """Gradients of both encodings, as sums over chunks of queries in a fixed order."""
    from quatrain.ops.attention.triton import position_bias_kernels as kernels

    most, (rows, columns) = max(call.queries), call.operands.relative
    chunk = -(-most // (CHUNKS * TILE)) * TILE
    lead = (call.batch, call.operands.value.shape[1])
    grad_rows, grad_columns = (
        grad_biases[0].new_empty(-(-count // chunk), *lead, *encoding.shape[1:])
        for count, encoding in zip(call.queries, (rows, columns), strict=True)
    )
    tiles = -(-max(rows.shape[1], columns.shape[1]) // _encoding_tile(call))
    programs = (lead[0] * lead[1], -(-most // chunk) * tiles, 2)
    flags = {name: call.flags[name] for name in ("QUERY_POSITION", "POSITION")}
    arguments = (grad_biases, kernel_operands, (grad_rows, grad_columns), chunk)
    _launch(kernels.encoding_grads_kernel, programs, call, *arguments, **flags)
    return grad_rows.sum((0, 1)).to(rows.dtype), grad_columns.sum((0, 1)).to(columns.dtype)


def _sum_parts(
    parts: Float[Tensor, "c b h d"] | None, bias: Float[Tensor, "h d"] | None
) -> Float[Tensor, "h d"] | None:
    return None if parts is None or bias is None else parts.sum((0, 1)).to(bias.dtype)


def _kernel_operands(call: AttentionCall) -> tuple[Tensor, ...]:
    """Query, both vectors, and both encodings in the type in which they are multiplied."""
    operands = call.operands
    single = (operands.query, operands.content_vector, operands.position_vector)
    encodings = (axis.to(call.encoding_dtype) for axis in operands.relative)
    return (*fill_missing(single, operands.value), *encodings)


def fill_missing(tensors: tuple[Tensor | None, ...], filler: Tensor) -> tuple[Tensor, ...]:
    """Replace each None by `filler`: kernels need a pointer, which they then never read."""
    return tuple(filler if x is None else x for x in tensors)


def _query_tiles(call: AttentionCall) -> int:
    return -(-max(call.queries) // TILE)


def _encoding_tile(call: AttentionCall) -> int:
    return TILE if call.encoding_dtype.itemsize == 2 else FLOAT32_TILE


def _heads(call: AttentionCall) -> int:
    """How many batch elements and heads have queries of their own."""
    batch, heads = call.operands.value.shape[:2]
    return heads if call.operands.query is None else batch * heads


def _launch(
    kernel: Any, programs: tuple[int, ...], call: AttentionCall, *arguments: Any, **flags: Any
) -> None:
    if 0 in programs:
        return
    operands, grid = call.operands, call.grid
    heads, width = operands.value.shape[1], operands.relative[0].shape[-1]
    tile = _encoding_tile(call)
    kernel[programs](
        *arguments,
        (width, heads),
        call.batch * heads,
        *grid.queries,
        *grid.keys,
        grid.key_stride,
        UNLIMITED_REACH if call.window is None else call.window // 2,
        QUERIES=TILE,
        RELATIVE=tile,
        WIDTH=max(16, 1 << (width - 1).bit_length()),
        SCALE=operands.scale,
        AXIAL=call.axial,
        **flags,
        num_warps=4 if tile == TILE else 8,
        num_stages=2 if tile == TILE else 1,
    )
