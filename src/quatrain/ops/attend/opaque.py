"""Attention by blocks as one operator, which torch.compile and torch.export do not look into.

Traced, its loops would be unrolled, and a length that may vary would stop them.

Source: Zhu et al. 2019, https://arxiv.org/abs/1904.05873, equation 2, for what it computes.

Shapes: b batch, h heads, q queries, k keys, e width of a value.
"""

import math
from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from quatrain.ops.attend import blocked
from quatrain.ops.attend.blocked import Factors
from quatrain.ops.positions import Grid
from quatrain.ops.precision import full_precision
from quatrain.ops.support import Structure, Support
from quatrain.ops.terms import Operands, content_asks, exactly, key_logits, position_asks
from quatrain.specs import Term


def attend_by_blocks(
    terms: Term, operands: Operands, grid: Grid, support: Support, *, product: bool
) -> Float[Tensor, "b h q e"]:
    """The weighted sum of values of each query; zeros where its support is empty.

    Logits and weights are float32, or float64, whatever the type of the operands.
    """
    with full_precision(operands.value):
        made = _factors(terms, operands, grid, support)
        mixed = _mix(
            made.value,
            made.asks,
            made.key,
            made.key_logits,
            made.position_asks,
            made.attend_mask,
            list(made.relative),
            list(grid.queries),
            list(grid.keys),
            grid.key_stride,
            grid.first_query,
            support.causal,
            support.window,
            support.key_padding_mask is not None,
            product,
        )
        return mixed.to(operands.value.dtype)


def _factors(terms: Term, operands: Operands, grid: Grid, support: Support) -> Factors:
    operands = exactly(operands)
    batch, heads = operands.value.shape[:2]
    asks = logits = None
    if Term.QUERY_KEY in terms:
        asks = content_asks(terms, operands)
    elif Term.KEY in terms:
        logits = key_logits(terms, operands)
    kept = support.kept_keys(grid, batch)
    if kept is not None:
        logits = key_logits(Term(0), operands) if logits is None else logits
        logits = torch.where(kept[:, :, 0], logits, blocked.excluded(logits.dtype))
    position = position_asks(terms, operands)
    return Factors(
        value=operands.value,
        asks=asks,
        key=None if asks is None else operands.key,
        key_logits=logits,
        position_asks=None if position is None else position.expand(batch, -1, -1, -1),
        attend_mask=support.kept_pairs(grid, batch, heads),
        relative=operands.relative if terms.use_position else (),
    )


@torch.library.custom_op("quatrain::mix_by_blocks", mutates_args=())
def _mix(
    value: Tensor,
    asks: Tensor | None,
    key: Tensor | None,
    key_logits: Tensor | None,
    position_asks: Tensor | None,
    attend_mask: Tensor | None,
    relative: Sequence[Tensor],
    queries: Sequence[int],
    keys: Sequence[int],
    key_stride: int,
    first_query: int,
    causal: bool,
    window: int | None,
    padded: bool,
    product: bool,
) -> Tensor:
    made = (value, asks, key, key_logits, position_asks, attend_mask)
    factors = _packed(made, relative)
    grid = Grid(tuple(queries), tuple(keys), key_stride, first_query)
    structure = Structure(causal, window, padded, attend_mask is not None)
    with full_precision(value):
        return blocked.mix(factors, grid, structure, product=product)


@_mix.register_fake
def _(value: Tensor, *others: Any) -> Tensor:
    queries = others[6]
    return value.new_empty(*value.shape[:2], math.prod(queries), value.shape[-1])


@torch.library.custom_op("quatrain::mix_by_blocks_backward", mutates_args=())
def _gradients(
    mixed: Tensor,
    given: Tensor,
    value: Tensor,
    asks: Tensor | None,
    key: Tensor | None,
    key_logits: Tensor | None,
    position_asks: Tensor | None,
    attend_mask: Tensor | None,
    relative: Sequence[Tensor],
    queries: Sequence[int],
    keys: Sequence[int],
    key_stride: int,
    first_query: int,
    causal: bool,
    window: int | None,
    padded: bool,
    product: bool,
) -> list[Tensor]:
    made = (value, asks, key, key_logits, position_asks, attend_mask)
    factors = _packed(made, relative)
    grid = Grid(tuple(queries), tuple(keys), key_stride, first_query)
    structure = Structure(causal, window, padded, attend_mask is not None)
    with full_precision(value):
        found = blocked.gradients(factors, grid, structure, mixed, given, product=product)
    return _differentiable(vars(found).values())


@_gradients.register_fake
def _(mixed: Tensor, given: Tensor, *others: Any) -> list[Tensor]:
    del mixed, given
    found = (*others[:5], None, tuple(others[6]))
    return [x.new_empty(x.shape) for x in _differentiable(found)]


def _differentiable(factors: Any) -> list[Tensor]:
    *single, relative = factors
    return [x.contiguous() for x in (*single, *relative) if x is not None]


def _packed(single: Sequence[Tensor | None], relative: Sequence[Tensor]) -> Factors:
    """The factors as the operator's arguments give them, contiguous."""
    made: list[Any] = [None if x is None else x.contiguous() for x in single]
    return Factors(*made, relative=tuple(axis.contiguous() for axis in relative))


def _remember(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    relative = inputs[6]
    ctx.save_for_backward(output, *inputs[:6], *relative)
    ctx.rest = inputs[7:]


def _backward(ctx: Any, given: Tensor) -> tuple[Any, ...]:
    output, *factors = ctx.saved_tensors
    single, relative = factors[:6], factors[6:]
    found = iter(_gradients(output, given.contiguous(), *single, relative, *ctx.rest))
    # the mask, sixth of them, has no gradient and is not among those found
    to_single = [None if x is None else next(found) for x in single[:5]]
    to_relative = [next(found) for _ in relative]
    return (*to_single, None, to_relative, *(None for _ in ctx.rest))


_mix.register_autograd(_backward, setup_context=_remember)
