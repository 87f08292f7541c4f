"""Weighted sums of values by a kernel of a GPU, and their gradients: how it is called.

`tile_kernels` says what it computes and how.

Shapes: b batch, h heads, n attentions of a batch element and head; q queries and k keys of one of
them, nq and nk of all; d width of asks and keys, e width of a value, y rows and x columns of keys;
#b is 1 where all batch elements share the tables; p parts of a logit of a key.
"""

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from quatrain.ops.attention.triton.key_bias import PARTS
from quatrain.ops.attention.triton.launch_config import Task, Tiling
from quatrain.ops.attention.triton.position_bias import BEYOND, filled


@dataclass(frozen=True)
class Band:
    """Rows of keys that queries reach: of queries `across` in a row, and keys of this stride.

    `reach` is how many rows of queries that are, before and after a query's own; None for all.
    """

    across: int = 1
    stride: int = 1
    reach: int | None = None


EVERYWHERE = Band()


@dataclass(frozen=True)
class Factors:
    """What logits are made of, and the values that weights are for; all tensors are contiguous.

    A batch element and head may have n attentions that share tables: `outer` one after the other,
    or `inner` of which the first query of each comes before the second of any; so for keys. Rows of
    keys beyond the band are passed over, and may be so only where tables hold no weight for them.
    Logits of keys are numbers, or their parts where values have 16 bits (`key_logits.parts_of`).
    """

    value: Float[Tensor, "b h nk e"]
    columns: Float[Tensor, "#b h q x"]
    rows: Float[Tensor, "#b h y q"] | None = None
    asks: Float[Tensor, "b h nq d"] | None = None
    key: Float[Tensor, "b h nk d"] | None = None
    key_logits: Float[Tensor, "b h nk *p"] | None = None
    outer: int = 1
    inner: int = 1
    band: Band = EVERYWHERE

    @property
    def far(self) -> bool:
        """Whether logits may stand for no weight."""
        return self.key_logits is not None or self.band.reach is not None

    @property
    def tensors(self) -> tuple[Tensor, ...]:
        """In the order in which kernels want them, with the values standing in for any missing."""
        found = (self.asks, self.key, self.key_logits, self.rows, self.columns, self.value)
        return filled(found, self.value)


@dataclass(frozen=True)
class Gradients:
    """Those of factors; of logits of keys as numbers."""

    value: Float[Tensor, "b h nk e"]
    columns: Float[Tensor, "#b h q x"]
    rows: Float[Tensor, "#b h y q"] | None
    asks: Float[Tensor, "b h nq d"] | None
    key: Float[Tensor, "b h nk d"] | None
    key_logits: Float[Tensor, "b h nk"] | None


def mix(factors: Factors) -> tuple[Float[Tensor, "b h nq e"], Float[Tensor, "b h nq"]]:
    """The weighted sum of values, and the logarithm of what the weights are divided by.

    Where no key has any weight, the total is at most `tables.NO_WEIGHT` and the sum is zero.

    Source: Zhu et al. 2019, https://arxiv.org/abs/1904.05873, equation 2; Dao 2023,
        https://arxiv.org/abs/2307.08691, section 3.1.
    """
    value, columns = factors.value, factors.columns
    batch, heads, _, width = value.shape
    queries = columns.shape[2] * factors.outer * factors.inner
    mixed = value.new_empty(batch, heads, queries, width)
    totals = columns.new_empty(batch, heads, queries)
    _launch("mix", factors, mixed, totals)
    return mixed, totals


def gradients(
    factors: Factors,
    mixed: Float[Tensor, "b h nq e"],
    totals: Float[Tensor, "b h nq"],
    given: Float[Tensor, "b h nq e"],
    to_totals: Float[Tensor, "b h nq"] | None = None,
) -> Gradients:
    """What the gradients of sums, and of totals if there are any, come to for the factors.

    Source: Dao 2023, https://arxiv.org/abs/2307.08691, section 3.1.
    """
    value, columns, rows = factors.value, factors.columns, factors.rows
    asks, key = factors.asks, factors.key
    several = (*value.shape[:2], factors.outer * factors.inner)
    to_asks = None if asks is None else torch.empty_like(asks)
    to_rows = None
    if rows is not None:
        every = rows.new_empty if factors.band.reach is None else rows.new_zeros
        to_rows = every(*several, *rows.shape[2:])
    to_columns = columns.new_empty(*several, *columns.shape[2:])
    repeats = torch.are_deterministic_algorithms_enabled()
    add_to = totals.new_empty if repeats else totals.new_zeros
    to_logits = None if factors.key_logits is None else add_to(value.shape[:3])
    kind = value.dtype if repeats else totals.dtype
    to_key = None if key is None else add_to(key.shape, dtype=kind)
    to_value = add_to(value.shape, dtype=kind)
    entering = (totals, mixed, given, given if to_totals is None else to_totals)
    made = (to_asks, to_rows, to_columns, to_key, to_logits, to_value)
    written = filled(made, value)
    flags = {"TOTALS": to_totals is not None, "TO_KEYS": not repeats}
    if repeats:
        means = torch.empty_like(totals)
        _launch("queries", factors, (*entering, means), written, **flags)
        _launch("keys", factors, (*entering, means), written)
    else:
        _launch("both", factors, (*entering, totals), written, **flags)
    return Gradients(
        to_value.to(value.dtype),
        _shared(to_columns, columns),
        None if rows is None or to_rows is None else _shared(to_rows, rows),
        to_asks,
        None if key is None or to_key is None else to_key.to(key.dtype),
        to_logits,
    )


def _shared(made: Float[Tensor, "b h n _ _"], like: Float[Tensor, "#b h _ _"]) -> Tensor:
    """The sum over all attentions that share a table; nothing is read where each has its own."""
    total = made.sum(2) if made.shape[2] > 1 else made[:, :, 0]
    return total.sum_to_size(like.shape)


def _launch(
    task: Task, factors: Factors, *rest: Tensor | tuple[Tensor, ...], **flags: bool
) -> None:
    """Run a kernel for every tile of queries, or of keys, of every attention."""
    from quatrain.ops.attention.triton import attention_kernels as tile_kernels

    value, columns, key = factors.value, factors.columns, factors.key
    batch, heads, keys, value_width = value.shape
    queries, along = columns.shape[2:]
    several = factors.outer * factors.inner
    if not batch * heads * several:
        return
    above = keys // (along * several)
    tiling = _tiling(task, factors)
    across, size = (along, tiling.keys) if task == "keys" else (queries, tiling.queries)
    tiles = -(-across // size) * (above if task == "keys" else 1)
    kernel: Any = {"mix": tile_kernels.mix, "keys": tile_kernels.gradients_of_keys}.get(
        task, tile_kernels.gradients_of_queries
    )
    logits, band = factors.key_logits, factors.band
    kernel[(tiles * batch * heads * several,)](
        factors.tensors,
        *rest,
        0.0,
        (
            queries,
            above,
            along,
            tiling.width if key is None else key.shape[-1],
            value_width,
            columns.shape[0] * heads,
            factors.outer,
            factors.inner,
            band.across,
            band.stride,
            BEYOND if band.reach is None else band.reach,
        ),
        tiling.queries,
        tiling.keys,
        tiling.width,
        tiling.value_width,
        CONTENT=key is not None,
        KEY_LOGITS=0 if logits is None else PARTS if logits.ndim == 4 else 1,
        ROWS=factors.rows is not None,
        FAR=factors.far,
        **flags,
        num_warps=tiling.warps,
        num_stages=tiling.stages,
    )


def _tiling(task: Task, factors: Factors) -> Tiling:
    value, key = factors.value, factors.key
    width = value.shape[-1] if key is None else key.shape[-1]
    queries, along = factors.columns.shape[2:]
    half, weighed = value.dtype.itemsize == 2, factors.key_logits is not None
    return Tiling.of(task, queries, along, width, value.shape[-1], half=half, weighed=weighed)
