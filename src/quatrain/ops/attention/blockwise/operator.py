"""Attention by blocks as one operator, which torch.compile and torch.export do not look into.

Traced, its loops would be unrolled, and a length that may vary would stop them.

Source: Zhu et al. 2019, https://arxiv.org/abs/1904.05873, equation 2, for what it computes.

Shapes: b batch, h heads, q queries, k keys, e width of a value.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, cast

import torch
from jaxtyping import Float
from torch import Tensor

from quatrain.ops.attention.blockwise import loop as blocked
from quatrain.ops.attention.blockwise.inputs import Factors, excluded
from quatrain.ops.derivatives import REFERENCE, refuse_second_derivatives, refuse_transforms
from quatrain.ops.positions import Grid
from quatrain.ops.precision import autocast_disabled, upcast
from quatrain.ops.support import Structure, Support
from quatrain.ops.terms import Operands, biased_query, key_logits, position_query, upcast_operands
from quatrain.specs import Term


def blockwise_attention(
    terms: Term, operands: Operands, grid: Grid, support: Support, *, product: bool
) -> Float[Tensor, "b h q e"]:
    """The weighted sum of values of each query; zeros where its support is empty.

    Logits and weights are float32, or float64, whatever the type of the operands.
    """
    with autocast_disabled(operands.value):
        made = factors_of(terms, operands, grid, support)
        single = (made.value, made.asks, made.key, made.key_logits, made.position_query)
        refuse_transforms((*single, *made.relative), REFERENCE)
        mixed = _mix(
            *single,
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


def factors_of(terms: Term, operands: Operands, grid: Grid, support: Support) -> Factors:
    """What the logits of these terms are made of, in float32 at least; padding is excluded.

    Source: Zhu et al. 2019, https://arxiv.org/abs/1904.05873, equation 2.
    """
    logits = _logits_within(terms, operands, grid, support)
    operands = upcast_operands(operands)
    batch, heads = operands.value.shape[:2]
    asks = biased_query(terms, operands) if terms.has(Term.QUERY_KEY) else None
    position = position_query(terms, operands)
    return Factors(
        value=operands.value,
        asks=asks,
        key=None if asks is None else operands.key,
        key_logits=logits,
        position_query=None if position is None else position.expand(batch, -1, -1, -1),
        attend_mask=support.pair_mask(grid, batch, heads),
        relative=operands.relative if terms.use_position else (),
    )


def _logits_within(
    terms: Term, operands: Operands, grid: Grid, support: Support
) -> Float[Tensor, "#b #h k"] | None:
    """What each key has for all queries alike, in float32 at least: E3 without E1, and padding.

    Source: Zhu et al. 2019, https://arxiv.org/abs/1904.05873, equation 2.
    """
    logits = None
    if terms.has(Term.KEY) and not terms.has(Term.QUERY_KEY):
        key, bias = (upcast(cast(Tensor, x)) for x in (operands.key, operands.key_bias))
        logits = key_logits(terms, replace(operands, key=key, key_bias=bias))
    kept = support.key_mask(grid, operands.value.shape[0])
    if kept is None:
        return logits
    if logits is None:
        logits = upcast(operands.value.new_zeros(1, 1, kept.shape[-1]))
    return torch.where(kept[:, :, 0], logits, excluded(logits.dtype))


_ARGUMENTS = """
    Tensor value, Tensor? asks, Tensor? key, Tensor? key_logits, Tensor? position_query,
    Tensor? attend_mask, Tensor[] relative, SymInt[] queries, SymInt[] keys, SymInt key_stride,
    SymInt first_query, bool causal, SymInt? window, bool padded, bool product
"""
_WAITS = (torch.Tag.cudagraph_unsafe,)
"""A block looks at its numbers, for which a GPU is waited for: a CUDA graph cannot hold that."""
_SINGLE = 6
"""The first of them: tensors, or None. Of these the mask, which is the last, has no gradient."""


@dataclass(frozen=True)
class _Call:
    """The arguments of the operators, as what they are."""

    factors: Factors
    grid: Grid
    structure: Structure
    product: bool

    @classmethod
    def read(cls, arguments: Sequence[Any]) -> "_Call":
        """From the order of `_ARGUMENTS`; all tensors become contiguous."""
        single, (relative, *rest) = arguments[:_SINGLE], arguments[_SINGLE:]
        queries, keys, key_stride, first_query, causal, window, padded, product = rest
        made: list[Any] = [None if x is None else x.contiguous() for x in single]
        return cls(
            Factors(*made, relative=tuple(axis.contiguous() for axis in relative)),
            Grid(tuple(queries), tuple(keys), key_stride, first_query),
            Structure(causal, window, padded, has_attn_mask=made[-1] is not None),
            product,
        )


@torch.library.custom_op(
    "quatrain::blockwise_attention",
    mutates_args=(),
    schema=f"({_ARGUMENTS}) -> Tensor",
    tags=_WAITS,
)
def _mix(*arguments: Any) -> Tensor:
    call = _Call.read(arguments)
    with autocast_disabled(call.factors.value):
        return blocked.mix(call.factors, call.grid, call.structure, product=call.product)


@_mix.register_fake
def _(*arguments: Any) -> Tensor:
    value, queries = arguments[0], arguments[_SINGLE + 1]
    return value.new_empty(*value.shape[:2], math.prod(queries), value.shape[-1])


@torch.library.custom_op(
    "quatrain::blockwise_attention_backward",
    mutates_args=(),
    schema=f"(Tensor mixed, Tensor given, {_ARGUMENTS}) -> Tensor[]",
    tags=_WAITS,
)
def _gradients(mixed: Tensor, given: Tensor, *arguments: Any) -> list[Tensor]:
    call = _Call.read(arguments)
    with autocast_disabled(mixed):
        found = blocked.gradients(
            call.factors, call.grid, call.structure, mixed, given, product=call.product
        )
    return [x.contiguous() for x in _differentiable((*vars(found).values(),))]


@_gradients.register_fake
def _(mixed: Tensor, given: Tensor, *arguments: Any) -> list[Tensor]:
    del mixed, given
    return [x.new_empty(x.shape) for x in _differentiable(arguments)]


def _differentiable(arguments: Sequence[Any]) -> list[Tensor]:
    """Those of the leading arguments that are there and have a gradient."""
    single, relative = arguments[: _SINGLE - 1], arguments[_SINGLE]
    return [x for x in (*single, *relative) if x is not None]


def _remember(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    ctx.save_for_backward(output, *inputs[:_SINGLE], *inputs[_SINGLE])
    ctx.rest = inputs[_SINGLE + 1 :]


def _backward(ctx: Any, given: Tensor) -> tuple[Any, ...]:
    output, *factors = ctx.saved_tensors
    single, relative = factors[:_SINGLE], factors[_SINGLE:]
    gradients = _gradients(output, given.contiguous(), *single, relative, *ctx.rest)
    refuse_second_derivatives(gradients, REFERENCE)
    found = iter(gradients)
    to_single = [None if x is None else next(found) for x in single[: _SINGLE - 1]]
    to_relative = [next(found) for _ in relative]
    return (*to_single, None, to_relative, *(None for _ in ctx.rest))


_mix.register_autograd(_backward, setup_context=_remember)
