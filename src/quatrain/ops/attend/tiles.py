"""Attention with positions on a map as one kernel of a GPU, whose tiles know rows and columns.

The kernel reads position tables, which are float32 whatever the type of the operands, and holds no
number for a pair of a query and a key; `tile_kernels` says how. Triton compiles it for the GPU, and
is imported when it is first needed: where it is missing, nothing else is.

Shapes: b batch, h heads, q queries, k keys, d width of a head, e width of a value, y rows and x
columns of keys; #b is 1 where all batch elements share the tables.
"""

import functools
import importlib.util
import subprocess
import warnings
from collections.abc import Sequence
from dataclasses import astuple, dataclass
from typing import Any, cast

import torch
from jaxtyping import Float
from torch import Tensor

from quatrain.ops.attend.opaque import factors_of
from quatrain.ops.positions import Grid
from quatrain.ops.precision import exact, full_precision
from quatrain.ops.support import Support
from quatrain.ops.terms import Operands, position_tables
from quatrain.specs import Term

WIDEST = 128
"""The width of keys and values of a head up to which tiles fit a GPU's shared memory."""

WARPS, STAGES = 8, 2
"""Groups of 32 threads that share a tile, where 4 spill more registers; and how many tiles of keys
are in flight."""


@torch.compiler.assume_constant_result
def is_available() -> bool:
    """Whether Triton is installed and, where there are GPUs, serves all of them.

    It does for those of NVIDIA from compute capability 8.0 on, if it finds a C compiler. For those
    of AMD the kernels were never compiled.
    """
    return _is_available()


@functools.cache
def _is_available() -> bool:
    if importlib.util.find_spec("triton") is None or torch.version.hip is not None:
        return False
    if not torch.cuda.is_available():
        return True
    devices = range(torch.cuda.device_count())
    if any(torch.cuda.get_device_capability(device) < (8, 0) for device in devices):
        return False
    import triton

    try:
        triton.runtime.driver.active.get_current_target()
    except (ImportError, RuntimeError, OSError, subprocess.CalledProcessError) as error:
        warnings.warn(
            f"Triton does not start ({error}), so attention with positions on maps is left to "
            "torch's kernel, with more products; a C compiler may be missing.",
            stacklevel=2,
        )
        return False
    return True


@dataclass(frozen=True)
class Tiling:
    """How many queries and columns of keys a program takes at once, and the widths of its tiles."""

    queries: int
    keys: int
    width: int
    value_width: int

    @classmethod
    def of(cls, along: int, width: int, value_width: int, *, half: bool) -> "Tiling":
        """The tiling for rows of `along` keys: as large as registers hold without spilling much.

        Of two lengths, the one that reaches the least beyond a row is taken. `half` tells that
        operands have 16 bits, whose products need fewer registers.
        """
        widths = [max(16, 1 << (each - 1).bit_length()) for each in (width, value_width)]
        if half:
            queries, longest = 64, 64 if max(widths) <= 64 else 32
        else:
            queries = longest = 32 if max(widths) <= 32 else 16
        shorter = max(16, longest // 2)
        keys = min((longest, shorter), key=lambda size: (-(-along // size) * size, -size))
        return cls(queries, keys, *widths)


def attend(
    terms: Term, operands: Operands, grid: Grid, support: Support
) -> Float[Tensor, "b h q e"]:
    """The weighted sum of values of each query; zeros where its support is empty.

    Source: Zhu et al. 2019, https://arxiv.org/abs/1904.05873, equation 2, on a map; Dao 2023,
        https://arxiv.org/abs/2307.08691, section 3.1.
    """
    value = operands.value
    with full_precision(value):
        made = factors_of(terms, operands, grid, support)
        asks = key = logits = None
        if made.asks is not None:
            asks, key = (cast(Tensor, x).to(value.dtype) for x in (made.asks, operands.key))
        if made.key_logits is not None:
            logits = made.key_logits.expand(*value.shape[:3])
        places = cast(Tensor, made.position_asks)
        shared = slice(None if Term.QUERY_POSITION in terms else 1)
        rows, columns = position_tables(places[shared], made.relative, grid)
        mixed, _ = _mix(value, asks, key, logits, rows.mT, columns)
    kept = support.kept_keys(grid, value.shape[0])
    return mixed if kept is None else torch.where(kept.any(-1, keepdim=True), mixed, 0.0)


_ARGUMENTS = """
    Tensor value, Tensor? asks, Tensor? key, Tensor? key_logits, Tensor rows, Tensor columns
"""


@torch.library.custom_op(
    "quatrain::mix_by_tiles", mutates_args=(), schema=f"({_ARGUMENTS}) -> (Tensor, Tensor)"
)
def _mix(*arguments: Any) -> tuple[Tensor, Tensor]:
    from quatrain.ops.attend import tile_kernels

    value, *others = _contiguous(arguments)
    mixed, totals = _like_outputs(value, others[-1])
    _launch(tile_kernels.mix, [value, *others], (mixed, totals), over_keys=False)
    return mixed, totals


@_mix.register_fake
def _(*arguments: Any) -> tuple[Tensor, Tensor]:
    return _like_outputs(arguments[0], arguments[-1])


def _like_outputs(
    value: Float[Tensor, "b h k e"], columns: Float[Tensor, "#b h q x"]
) -> tuple[Float[Tensor, "b h q e"], Float[Tensor, "b h q"]]:
    batch, heads, _, width = value.shape
    queries = columns.shape[2]
    mixed = value.new_empty(batch, heads, queries, width)
    return mixed, columns.new_empty(batch, heads, queries)


@torch.library.custom_op(
    "quatrain::mix_by_tiles_backward",
    mutates_args=(),
    schema=f"(Tensor given, Tensor mixed, Tensor totals, {_ARGUMENTS}) -> Tensor[]",
)
def _gradients(given: Tensor, mixed: Tensor, totals: Tensor, *arguments: Any) -> list[Tensor]:
    from quatrain.ops.attend import tile_kernels

    made = _contiguous(arguments)
    value, asks, key, key_logits, rows, columns = made
    batch, heads, queries = totals.shape
    above, along = rows.shape[2], columns.shape[3]
    means = (exact(given) * exact(mixed)).sum(-1)
    entering = (totals, means, given.contiguous())
    to_value, to_asks, to_key, to_logits = (
        None if x is None else torch.empty_like(x) for x in (value, asks, key, key_logits)
    )
    to_rows = rows.new_empty(batch, heads, above, queries)
    to_columns = columns.new_empty(batch, heads, queries, along)
    of_queries = (*entering, to_asks, to_rows, to_columns)
    _launch(tile_kernels.gradients_of_queries, made, of_queries, over_keys=False)
    of_keys = (*entering, to_key, to_logits, to_value)
    _launch(tile_kernels.gradients_of_keys, made, of_keys, over_keys=True)
    tables = (to_rows.sum_to_size(rows.shape), to_columns.sum_to_size(columns.shape))
    found = (to_value, to_asks, to_key, to_logits, *tables)
    return [x for x in found if x is not None]


@_gradients.register_fake
def _(given: Tensor, mixed: Tensor, totals: Tensor, *arguments: Any) -> list[Tensor]:
    del given, mixed, totals
    return [x.new_empty(x.shape) for x in arguments if x is not None]


def _contiguous(arguments: Sequence[Tensor | None]) -> list[Any]:
    return [None if x is None else x.contiguous() for x in arguments]


def _tiling(made: Sequence[Any]) -> Tiling:
    value, _, key, *_, columns = made
    width = value.shape[-1] if key is None else key.shape[-1]
    half = value.dtype.itemsize == 2
    return Tiling.of(columns.shape[3], width, value.shape[-1], half=half)


def _launch(kernel: Any, made: Sequence[Any], rest: Sequence[Any], *, over_keys: bool) -> None:
    """Run a kernel for every tile of queries, or of keys, of every batch element and head."""
    value, asks, key, key_logits, rows, columns = made
    batch, heads, _, value_width = value.shape
    queries, along = columns.shape[2:]
    above, tables = rows.shape[2], rows.shape[0] * heads
    tiling = _tiling(made)
    width = tiling.width if key is None else key.shape[-1]
    tiles = above * -(-along // tiling.keys) if over_keys else -(-queries // tiling.queries)
    if not batch:
        return
    with torch.cuda.device_of(value):
        kernel[(tiles * batch * heads,)](
            (asks, key, key_logits, rows, columns, value),
            *rest,
            (queries, above, along, width, value_width, tables),
            *astuple(tiling),
            num_warps=WARPS,
            num_stages=STAGES,
        )


def _remember(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    ctx.save_for_backward(*output, *inputs)
    ctx.set_materialize_grads(False)


def _backward(ctx: Any, given: Tensor | None, to_totals: Tensor | None) -> tuple[Any, ...]:
    del to_totals
    mixed, totals, *arguments = ctx.saved_tensors
    if given is None:
        return tuple(None for _ in arguments)
    found = iter(_gradients(given, mixed, totals, *arguments))
    return tuple(None if x is None else next(found) for x in arguments)


_mix.register_autograd(_backward, setup_context=_remember)
