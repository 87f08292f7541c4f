"""Position tables of a map by kernels of a GPU: made, and their gradients taken, in place.

Shapes: b batch, h heads, q queries, y rows and x columns of keys, k keys along an axis, l offsets
that occur along it, d width of a head.
"""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from quatrain.ops.attend.blocked import excluded
from quatrain.ops.attend.tangents import refuse_tangents
from quatrain.ops.positions import Grid

LOWEST = excluded(torch.float32)
"""The logit that stands for no weight, also in float64."""

NO_WEIGHT = LOWEST / 2
"""A sum of logits, or a total of their exponentials, up to which there is no weight."""

SIZE = 64
"""How many offsets, and how many queries, a program takes at once."""

BEYOND = 2**30
"""An offset that no map has."""

CHUNKS = 32
"""Parts of the queries that give to the gradients of encodings side by side."""

_ARGUMENTS = """
    Tensor asks, Tensor relative, SymInt across, SymInt last, SymInt keys, SymInt stride,
    SymInt reach, bool columns
"""


def tables_of(
    asks: Float[Tensor, "b h q d"],
    relative: tuple[Float[Tensor, "h _ d"], ...],
    grid: Grid,
    window: int | None = None,
) -> tuple[Float[Tensor, "b h y q"], Float[Tensor, "b h q x"]]:
    """Position logits of rows and of columns for each query of a map, in float32 at least.

    Where a window does not reach, there is what stands for no weight.

    Source: Zhu et al. 2019, https://arxiv.org/abs/1904.05873, equation 2.
    """
    refuse_tangents(asks, *relative)
    along = grid.queries[1]
    rows, columns = (
        _tabulate(asks, relative[axis], along, *_places(grid, axis, window), axis == 1)
        for axis in (0, 1)
    )
    return rows, columns


def table_along(
    asks: Float[Tensor, "b h #q_axis d"],
    relative: Float[Tensor, "h l d"],
    grid: Grid,
    axis: int,
    window: int | None = None,
) -> Float[Tensor, "b h q_axis k"]:
    """Position logits along one axis alone, for each place of a query on it.

    Source: Zhu et al. 2019, https://arxiv.org/abs/1904.05873, equation 2.
    """
    refuse_tangents(asks, relative)
    size = grid.queries[axis]
    asks = asks.expand(-1, -1, size, -1)
    return _tabulate(asks, relative, size, *_places(grid, axis, window), True)


def _places(grid: Grid, axis: int, window: int | None) -> tuple[int, int, int, int]:
    reach = BEYOND if window is None else window // 2
    return grid.queries[axis] - 1, grid.keys[axis], grid.key_stride, reach


@torch.library.custom_op("quatrain::tabulate", mutates_args=(), schema=f"({_ARGUMENTS}) -> Tensor")
def _tabulate(asks: Tensor, relative: Tensor, *places: Any) -> Tensor:
    from quatrain.ops.attend import table_kernels

    asks, relative = asks.contiguous(), relative.contiguous()
    table = _like_table(asks, *places)
    batch, heads, queries, _ = asks.shape
    programs = (-(-queries // SIZE) * batch * heads,)
    given = (asks, relative, table)
    _launch(table_kernels.tabulate, programs, given, asks, relative, places, LOWEST=LOWEST)
    return table


@_tabulate.register_fake
def _(asks: Tensor, relative: Tensor, *places: Any) -> Tensor:
    del relative
    return _like_table(asks, *places)


def _like_table(
    asks: Tensor, across: int, last: int, keys: int, stride: int, reach: int, columns: bool
) -> Tensor:
    del across, last, stride, reach
    batch, heads, queries, _ = asks.shape
    shape = (queries, keys) if columns else (keys, queries)
    kind = torch.promote_types(asks.dtype, torch.float32)
    return asks.new_empty(batch, heads, *shape, dtype=kind)


@torch.library.custom_op(
    "quatrain::tabulate_backward",
    mutates_args=(),
    schema=f"(Tensor given, {_ARGUMENTS}) -> (Tensor, Tensor)",
)
def _gradients(
    given: Tensor, asks: Tensor, relative: Tensor, *places: Any
) -> tuple[Tensor, Tensor]:
    from quatrain.ops.attend import table_kernels

    given, asks, relative = given.contiguous(), asks.contiguous(), relative.contiguous()
    batch, heads, queries, width = asks.shape
    offsets = relative.shape[1]
    to_asks = torch.empty_like(asks)
    programs = (-(-queries // SIZE) * batch * heads,)
    of_asks = (given, relative, to_asks)
    _launch(table_kernels.gradients_of_asks, programs, of_asks, asks, relative, places)
    chunk = -(-queries // (CHUNKS * SIZE)) * SIZE
    chunks = -(-queries // chunk)
    parts = given.new_empty(chunks, batch, heads, offsets, width)
    programs = (batch * heads, chunks * -(-offsets // SIZE))
    of_relative = (given, asks, parts, chunk)
    _launch(table_kernels.gradients_of_relative, programs, of_relative, asks, relative, places)
    return to_asks, parts.sum((0, 1)).to(relative.dtype)


@_gradients.register_fake
def _(given: Tensor, asks: Tensor, relative: Tensor, *places: Any) -> tuple[Tensor, Tensor]:
    del given, places
    return asks.new_empty(asks.shape), relative.new_empty(relative.shape)


def _launch(
    kernel: Any,
    programs: tuple[int, ...],
    given: tuple[Any, ...],
    asks: Tensor,
    relative: Tensor,
    places: tuple[Any, ...],
    **more: float,
) -> None:
    if 0 in programs:
        return
    across, last, keys, stride, reach, columns = places
    heads, queries, width = asks.shape[1:]
    with torch.cuda.device_of(asks):
        kernel[programs](
            *given,
            (queries, keys, relative.shape[1], width, heads),
            (across, last, stride, reach),
            QUERIES=SIZE,
            OFFSETS=SIZE,
            WIDTH=max(16, 1 << (width - 1).bit_length()),
            COLUMNS=columns,
            **more,
            num_warps=4,
            num_stages=2,
        )


def _remember(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    del output
    ctx.save_for_backward(*inputs[:2])
    ctx.places = inputs[2:]


def _backward(ctx: Any, given: Tensor) -> tuple[Any, ...]:
    found = _gradients(given, *ctx.saved_tensors, *ctx.places)
    return (*found, *(None for _ in ctx.places))


_tabulate.register_autograd(_backward, setup_context=_remember)
