"""Position tables of a map by kernels of a GPU, made from operands in place, and their gradients.

What is asked of the content of keys, queries with another bias, is made along with them.

Shapes: b batch, h heads, q queries, y rows and x columns of keys, k keys along an axis, l offsets
that occur along it, d width of a head; t is b, or 1 where no query's content is asked.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from quatrain.ops.attention.blockwise.inputs import excluded
from quatrain.ops.positions import Grid
from quatrain.ops.terms import Operands
from quatrain.specs import Term

LOWEST = excluded(torch.float32)
"""The logit that stands for no weight, also in float64."""

NO_WEIGHT = LOWEST / 2
"""A sum of logits, or a total of their exponentials, up to which there is no weight."""

SIZE = 64
"""How many queries a program takes at once, and how many offsets, where encodings have 16 bits."""

EXACT_SIZE = 32
"""How many offsets a program takes at once where they have more: of 64, registers do not hold what
is in flight, and spill."""

BEYOND = 2**30
"""An offset that no map has."""

CHUNKS = 32
"""Parts of the queries that give to the gradients of encodings side by side."""


@dataclass(frozen=True)
class Call:
    """What is asked of whom; all operands are contiguous.

    `axial` means that no query's content is asked, and that tables are wanted for the places along
    an axis alone, of encodings that are not rounded to 16 bits. Kernels are compiled for the scale
    of the operands: as an argument it would be rounded to float32.
    """

    terms: Term
    operands: Operands
    grid: Grid
    window: int | None = None
    axial: bool = False

    @cached_property
    def exact(self) -> torch.dtype:
        """The type of tables: float32 at least, whatever that of the values."""
        return torch.promote_types(self.operands.value.dtype, torch.float32)

    @cached_property
    def kind(self) -> torch.dtype:
        """The type in which encodings are multiplied."""
        return self.exact if self.axial else self.operands.value.dtype

    @cached_property
    def flags(self) -> dict[str, bool]:
        """Which terms are on, by name."""
        return {term.name or "": self.terms.has(term) for term in Term}

    @cached_property
    def tables(self) -> int:
        """How many batch elements have tables of their own."""
        return self.operands.value.shape[0] if self.flags["QUERY_POSITION"] else 1

    @cached_property
    def queries(self) -> tuple[int, int]:
        """How many have a vector in the table of rows, and in that of columns."""
        above, along = self.grid.queries
        return (above, along) if self.axial else (above * along, above * along)

    @cached_property
    def shapes(self) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Those of the table of rows and of the table of columns."""
        lead = (self.tables, self.operands.value.shape[1])
        queries, keys = self.queries, self.grid.keys
        rows = (queries[0], keys[0]) if self.axial else (keys[0], queries[0])
        return (*lead, *rows), (*lead, queries[1], keys[1])


@dataclass(frozen=True)
class Tables:
    """Position logits of rows and of columns, and what is asked of the content of keys, if any.

    Where a window does not reach, there is what stands for no weight.
    """

    rows: Float[Tensor, "t h _ _"]
    columns: Float[Tensor, "t h q x"]
    asks: Float[Tensor, "b h q d"] | None


@dataclass(frozen=True)
class Gradients:
    """Those of the operands that tables are made of; None where there is no such operand."""

    query: Float[Tensor, "b h q d"] | None
    key_bias: Float[Tensor, "h d"] | None
    position_bias: Float[Tensor, "h d"] | None
    relative: tuple[Float[Tensor, "h _ d"], Float[Tensor, "h _ d"]]


def tables_of(call: Call) -> Tables:
    """The tables of a map, in float32 at least.

    Source: Zhu et al. 2019, https://arxiv.org/abs/1904.05873, equation 2.
    """
    from quatrain.ops.attention.triton import position_bias_kernels as table_kernels

    value, query = call.operands.value, call.operands.query
    asks = None
    if call.flags["QUERY_KEY"] and query is not None:
        asks = torch.empty_like(query, dtype=value.dtype)
    rows, columns = (value.new_empty(shape, dtype=call.exact) for shape in call.shapes)
    programs = (_tiles(call) * _heads(call), 2)
    given = (_factors(call), value if asks is None else asks, (rows, columns))
    _launch(table_kernels.tabulate, programs, call, *given, **call.flags, LOWEST=LOWEST)
    return Tables(rows, columns, asks)


def gradients_of_tables(
    call: Call,
    to_rows: Float[Tensor, "t h _ _"],
    to_columns: Float[Tensor, "t h q x"],
    to_asks: Float[Tensor, "b h q d"] | None,
) -> Gradients:
    """What the gradients of tables, and of what is asked of keys, come to for the operands.

    Source: Zhu et al. 2019, https://arxiv.org/abs/1904.05873, equation 2.
    """
    from quatrain.ops.attention.triton import position_bias_kernels as table_kernels

    flags, operands = call.flags, call.operands
    value, query = operands.value, operands.query
    given, factors = (to_rows, to_columns), _factors(call)
    tiles, heads = _tiles(call), _heads(call)
    of_biases = (tiles, heads // value.shape[1], value.shape[1], operands.relative[0].shape[-1])
    to_query = None if query is None else torch.empty_like(query)
    to_key_bias, to_position_bias = (
        to_rows.new_empty(of_biases) if wanted else None
        for wanted in (to_asks is not None and flags["KEY"], flags["POSITION"])
    )
    written = filled((to_query, to_key_bias, to_position_bias), value)
    _launch(
        table_kernels.gradients_of_asks,
        (tiles * heads,),
        call,
        given,
        factors,
        value if to_asks is None else to_asks,
        written,
        **call.flags,
    )
    return Gradients(
        to_query,
        _bias(to_key_bias, operands.key_bias),
        _bias(to_position_bias, operands.position_bias),
        _to_relative(call, given, factors),
    )


def _to_relative(
    call: Call, given: tuple[Tensor, Tensor], factors: tuple[Tensor, ...]
) -> tuple[Float[Tensor, "h _ d"], Float[Tensor, "h _ d"]]:
    """The sums of what chunks of the queries give, in an order that is always the same."""
    from quatrain.ops.attention.triton import position_bias_kernels as table_kernels

    most, (rows, columns) = max(call.queries), call.operands.relative
    chunk = -(-most // (CHUNKS * SIZE)) * SIZE
    lead = (call.tables, call.operands.value.shape[1])
    of_rows, of_columns = (
        given[0].new_empty(-(-count // chunk), *lead, *axis.shape[1:])
        for count, axis in zip(call.queries, (rows, columns), strict=True)
    )
    tiles = -(-max(rows.shape[1], columns.shape[1]) // _offsets(call))
    programs = (lead[0] * lead[1], -(-most // chunk) * tiles, 2)
    asked = {name: call.flags[name] for name in ("QUERY_POSITION", "POSITION")}
    written = (given, factors, (of_rows, of_columns), chunk)
    _launch(table_kernels.gradients_of_relative, programs, call, *written, **asked)
    return of_rows.sum((0, 1)).to(rows.dtype), of_columns.sum((0, 1)).to(columns.dtype)


def _bias(
    parts: Float[Tensor, "c b h d"] | None, bias: Float[Tensor, "h d"] | None
) -> Float[Tensor, "h d"] | None:
    return None if parts is None or bias is None else parts.sum((0, 1)).to(bias.dtype)


def _factors(call: Call) -> tuple[Tensor, ...]:
    """Queries, both biases, and the encodings of both axes, as they are multiplied."""
    operands = call.operands
    sums = (operands.query, operands.key_bias, operands.position_bias)
    return (*filled(sums, operands.value), *(axis.to(call.kind) for axis in operands.relative))


def filled(given: tuple[Tensor | None, ...], standing: Tensor) -> tuple[Tensor, ...]:
    """The same with a tensor standing in for each that is not there."""
    return tuple(standing if x is None else x for x in given)


def _tiles(call: Call) -> int:
    return -(-max(call.queries) // SIZE)


def _offsets(call: Call) -> int:
    return SIZE if call.kind.itemsize == 2 else EXACT_SIZE


def _heads(call: Call) -> int:
    """Of how many batch elements and heads queries ask."""
    batch, heads = call.operands.value.shape[:2]
    return heads if call.operands.query is None else batch * heads


def _launch(kernel: Any, programs: tuple[int, ...], call: Call, *given: Any, **more: Any) -> None:
    if 0 in programs:
        return
    operands, grid = call.operands, call.grid
    heads, width = operands.value.shape[1], operands.relative[0].shape[-1]
    offsets = _offsets(call)
    kernel[programs](
        *given,
        (width, heads),
        call.tables * heads,
        *grid.queries,
        *grid.keys,
        grid.key_stride,
        BEYOND if call.window is None else call.window // 2,
        QUERIES=SIZE,
        OFFSETS=offsets,
        WIDTH=max(16, 1 << (width - 1).bit_length()),
        SCALE=operands.scale,
        LINES=call.axial,
        **more,
        num_warps=4 if offsets == SIZE else 8,
        num_stages=2 if offsets == SIZE else 1,
    )
