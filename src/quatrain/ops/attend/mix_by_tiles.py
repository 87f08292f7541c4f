"""Weighted sums of values by a kernel of a GPU, as one operator that compilers do not look into.

`tile_kernels` says what it computes and how.

Shapes: b batch, h heads, n attentions of a batch element and head; q queries and k keys of one of
them, nq and nk of all; d width of asks and keys, e width of a value, y rows and x columns of keys;
#b is 1 where all batch elements share the tables.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from quatrain.ops.attend.tables import BEYOND
from quatrain.ops.attend.tangents import refuse_tangents
from quatrain.ops.attend.tiling import Task, Tiling

PARTS, OF_PARTS, SPLIT_AT_ONCE = 16, torch.bfloat16, 256
"""How many numbers a key's logit becomes a sum of, where operands have 16 bits, their type, which
has the range of float32, and how many logits a program splits."""


@dataclass(frozen=True)
class Band:
    """Rows of keys that queries reach: of queries `across` in a row, and keys of this stride.

    `reach` is how many rows of queries that are, before and after a query's own; None for all.
    """

    across: int = 1
    stride: int = 1
    reach: int | None = None

    @property
    def sizes(self) -> tuple[int, int, int | None]:
        """The same as a tuple; sizes that may vary are not copied."""
        return self.across, self.stride, self.reach


EVERYWHERE = Band()

_ARGUMENTS = """
    Tensor value, Tensor? asks, Tensor? key, Tensor? key_logits, Tensor? rows, Tensor columns,
    SymInt outer, SymInt inner, SymInt across, SymInt stride, SymInt? reach
"""
_FACTORS = 6
"""The first of them: tensors, or None."""


def mix(
    value: Float[Tensor, "b h nk e"],
    asks: Float[Tensor, "b h nq d"] | None,
    key: Float[Tensor, "b h nk d"] | None,
    key_logits: Float[Tensor, "b h nk"] | None,
    rows: Float[Tensor, "#b h y q"] | None,
    columns: Float[Tensor, "#b h q x"],
    *,
    outer: int = 1,
    inner: int = 1,
    band: Band = EVERYWHERE,
) -> tuple[Float[Tensor, "b h nq e"], Float[Tensor, "b h nq"]]:
    """The weighted sum of values, and the logarithm of what the weights are divided by.

    A batch element and head may have n attentions that share tables: `outer` one after the other,
    or `inner` of which the first query of each comes before the second of any; so for keys. Rows of
    keys beyond the band are passed over, and may be so only where tables hold no weight for them.
    Where no key has any weight, the total is at most `tables.NO_WEIGHT` and the sum is zero.

    Source: Zhu et al. 2019, https://arxiv.org/abs/1904.05873, equation 2; Dao 2023,
        https://arxiv.org/abs/2307.08691, section 3.1.
    """
    refuse_tangents(value, asks, key, key_logits, rows, columns)
    return _mix(value, asks, key, key_logits, rows, columns, outer, inner, *band.sizes)


@torch.library.custom_op(
    "quatrain::mix_by_tiles", mutates_args=(), schema=f"({_ARGUMENTS}) -> (Tensor, Tensor)"
)
def _mix(*arguments: Any) -> tuple[Tensor, Tensor]:
    call = _Call.read(arguments)
    mixed, totals = _like_outputs(arguments)
    call.launch("mix", mixed, totals)
    return mixed, totals


@_mix.register_fake
def _(*arguments: Any) -> tuple[Tensor, Tensor]:
    return _like_outputs(arguments)


def _like_outputs(arguments: Sequence[Any]) -> tuple[Tensor, Tensor]:
    value, columns, outer, inner = arguments[0], *arguments[_FACTORS - 1 : _FACTORS + 2]
    batch, heads, _, width = value.shape
    queries = columns.shape[2] * outer * inner
    return value.new_empty(batch, heads, queries, width), columns.new_empty(batch, heads, queries)


@torch.library.custom_op(
    "quatrain::mix_by_tiles_backward",
    mutates_args=(),
    schema=(
        f"(Tensor given, Tensor? to_totals, Tensor mixed, Tensor totals, {_ARGUMENTS}) -> Tensor[]"
    ),
)
def _gradients(
    given: Tensor, to_totals: Tensor | None, mixed: Tensor, totals: Tensor, *arguments: Any
) -> list[Tensor]:
    call = _Call.read(arguments)
    value, asks, key, key_logits, rows, columns = call.factors
    several = (*value.shape[:2], call.outer * call.inner)
    to_asks = None if asks is None else torch.empty_like(asks)
    to_rows = None
    if rows is not None:
        every = rows.new_empty if call.band.reach is None else rows.new_zeros
        to_rows = every(*several, *rows.shape[2:])
    to_columns = columns.new_empty(*several, *columns.shape[2:])
    to_totals = None if to_totals is None else to_totals.contiguous()
    entering = (totals, mixed, given.contiguous(), to_totals, torch.empty_like(totals))
    of_queries = (to_asks, to_rows, to_columns)
    of_keys = (key, key_logits, value)
    if torch.are_deterministic_algorithms_enabled():
        to_keys = [None if x is None else torch.empty_like(x) for x in of_keys]
        call.launch("queries", entering, (*of_queries, *to_keys))
        call.launch("keys", entering, (*of_queries, *to_keys))
    else:
        to_keys = [None if x is None else torch.zeros_like(x, dtype=totals.dtype) for x in of_keys]
        call.launch("both", entering, (*of_queries, *to_keys))
    to_key, to_logits, to_value = (
        None if x is None else x.to(like.dtype) for x, like in zip(to_keys, of_keys, strict=True)
    )
    to_columns = _shared(to_columns, columns)
    if rows is not None and to_rows is not None:
        to_rows = _shared(to_rows, rows)
    found = (to_value, to_asks, to_key, to_logits, to_rows, to_columns)
    return [x for x in found if x is not None]


def _shared(made: Float[Tensor, "b h n _ _"], like: Float[Tensor, "#b h _ _"]) -> Tensor:
    """The sum over all attentions that share a table; nothing is read where each has its own."""
    total = made.sum(2) if made.shape[2] > 1 else made[:, :, 0]
    return total.sum_to_size(like.shape)


@_gradients.register_fake
def _(
    given: Tensor, to_totals: Tensor | None, mixed: Tensor, totals: Tensor, *arguments: Any
) -> list[Tensor]:
    del given, to_totals, mixed, totals
    return [x.new_empty(x.shape) for x in arguments[:_FACTORS] if x is not None]


@dataclass(frozen=True)
class _Call:
    """The arguments of the operators, as what they are."""

    factors: tuple[Any, ...]
    outer: int
    inner: int
    band: Band

    @classmethod
    def read(cls, arguments: Sequence[Any]) -> "_Call":
        """From the order of `_ARGUMENTS`; all tensors become contiguous."""
        factors = (None if x is None else x.contiguous() for x in arguments[:_FACTORS])
        outer, inner, *band = arguments[_FACTORS:]
        return cls(tuple(factors), outer, inner, Band(*band))

    def launch(self, task: Task, *rest: Tensor | tuple[Tensor | None, ...]) -> None:
        """Run a kernel for every tile of queries, or of keys, of every attention."""
        from quatrain.ops.attend import tile_kernels

        value, asks, key, key_logits, rows, columns = self.factors
        batch, heads, keys, value_width = value.shape
        queries, along = columns.shape[2:]
        many = batch * heads * self.outer * self.inner
        if not many:
            return
        above = keys // (along * self.outer * self.inner)
        tiling = self.tiling(task)
        width = tiling.width if key is None else key.shape[-1]
        across, size = (along, tiling.keys) if task == "keys" else (queries, tiling.queries)
        tiles = -(-across // size) * (above if task == "keys" else 1)
        kernel: Any = tile_kernels.mix
        flags = {"CONTENT": asks is not None, "KEY_LOGITS": 0, "ROWS": rows is not None}
        flags["FAR"] = key_logits is not None or self.band.reach is not None
        if task in ("queries", "both"):
            kernel = tile_kernels.gradients_of_queries
            flags |= {"TOTALS": rest[0][3] is not None, "TO_KEYS": task == "both"}
        elif task == "keys":
            kernel = tile_kernels.gradients_of_keys
        sizes = (queries, above, along, width, value_width)
        *bounds, reach = self.band.sizes
        bounds.append(BEYOND if reach is None else reach)
        with torch.cuda.device_of(value):
            if key_logits is not None:
                flags["KEY_LOGITS"] = 1
                if value.dtype.itemsize == 2:
                    key_logits, flags["KEY_LOGITS"] = _parts(key_logits), PARTS
            factors = (asks, key, key_logits, rows, columns, value)
            kernel[(tiles * many,)](
                *(_filled(x, value) for x in (factors, *rest)),
                0.0,
                (*sizes, columns.shape[0] * heads, self.outer, self.inner, *bounds),
                tiling.queries,
                tiling.keys,
                tiling.width,
                tiling.value_width,
                **flags,
                num_warps=tiling.warps,
                num_stages=tiling.stages,
            )

    def tiling(self, task: Task) -> Tiling:
        """That of a kernel for these factors."""
        value, _, key, key_logits, _, columns = self.factors
        width = value.shape[-1] if key is None else key.shape[-1]
        half, weighed = value.dtype.itemsize == 2, key_logits is not None
        queries, along = columns.shape[2:]
        sizes = (queries, along, width, value.shape[-1])
        return Tiling.of(task, *sizes, half=half, weighed=weighed)


def _filled(
    given: Tensor | tuple[Tensor | None, ...], standing: Tensor
) -> Tensor | tuple[Tensor, ...]:
    """The same with a tensor standing in for each that is not there."""
    if isinstance(given, Tensor):
        return given
    return tuple(standing if x is None else x for x in given)


def _parts(key_logits: Float[Tensor, "b h nk"]) -> Float[Tensor, "b h nk parts"]:
    """Each number as a sum of three of 8 bits, and of zeros."""
    from quatrain.ops.attend import tile_vectors

    parts = key_logits.new_empty(*key_logits.shape, PARTS, dtype=OF_PARTS)
    count = key_logits.numel()
    split: Any = tile_vectors.split
    split[(-(-count // SPLIT_AT_ONCE),)](key_logits, parts, count, SPLIT_AT_ONCE, PARTS)
    return parts


def _remember(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    ctx.save_for_backward(*output, *inputs[:_FACTORS])
    ctx.rest = inputs[_FACTORS:]
    ctx.set_materialize_grads(False)


def _backward(ctx: Any, given: Tensor | None, to_totals: Tensor | None) -> tuple[Any, ...]:
    mixed, totals, *factors = ctx.saved_tensors
    if given is None:
        given = torch.zeros_like(mixed)
    found = iter(_gradients(given, to_totals, mixed, totals, *factors, *ctx.rest))
    return (*(None if x is None else next(found) for x in factors), *(None for _ in ctx.rest))


_mix.register_autograd(_backward, setup_context=_remember)
