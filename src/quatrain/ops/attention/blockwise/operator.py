"""Blockwise attention as one custom operator, opaque to torch.compile and torch.export.

Traced, its loop would be unrolled, and a symbolic length would stop it.

Source: Zhu et al. 2019, https://arxiv.org/abs/1904.05873, equation 2, for what it computes.

Shapes: b batch, h heads, q queries, k keys, e width of a value.
"""

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, cast

import torch
from jaxtyping import Float
from torch import Tensor

from quatrain.ops.attention.blockwise.inputs import BlockwiseInputs, mask_value
from quatrain.ops.attention.blockwise.loop import BlockLoop
from quatrain.ops.derivatives import USE_REFERENCE, refuse_second_derivatives, refuse_transforms
from quatrain.ops.positions import Grid
from quatrain.ops.precision import autocast_disabled, upcast
from quatrain.ops.support import Structure, Support
from quatrain.ops.terms import Operands, biased_query, key_logits, position_query, upcast_operands
from quatrain.specs import Term


def factored_attention(
    terms: Term, operands: Operands, grid: Grid, support: Support
) -> Float[Tensor, "b h q e"]:
    """Attention on a map without the term E1, whose weights are a product over rows and columns.

    It serves 0100, 0101, 0110 and 0111. No exponential is taken per query-key pair, and no weight
    is held (`factored_softmax`).

    Source: Zhu et al. 2019, https://arxiv.org/abs/1904.05873, equation 2, on a map.
    """
    return blockwise_attention(terms, operands, grid, support, factored=True)


def blockwise_attention(
    terms: Term, operands: Operands, grid: Grid, support: Support, *, factored: bool = False
) -> Float[Tensor, "b h q e"]:
    """The weighted sum of values of each query; zeros where its support is empty.

    Logits and weights are float32, or float64, whatever the type of the operands.
    """
    with autocast_disabled(operands.value):
        inputs = blockwise_inputs(terms, operands, grid, support)
        single = (inputs.value, inputs.query, inputs.key, inputs.key_logits, inputs.position_query)
        refuse_transforms((*single, *inputs.relative), USE_REFERENCE)
        output = _blockwise_attention(
            *single,
            inputs.attend_mask,
            list(inputs.relative),
            list(grid.queries),
            list(grid.keys),
            grid.key_stride,
            grid.first_query,
            support.causal,
            support.window,
            support.key_padding_mask is not None,
            factored,
        )
        return output.to(operands.value.dtype)


def blockwise_inputs(
    terms: Term, operands: Operands, grid: Grid, support: Support
) -> BlockwiseInputs:
    """The inputs of these terms, in float32 at least; padding is masked in the key logits.

    Source: Zhu et al. 2019, https://arxiv.org/abs/1904.05873, equation 2.
    """
    logits = _masked_key_logits(terms, operands, grid, support)
    operands = upcast_operands(operands)
    batch, heads = operands.value.shape[:2]
    query = biased_query(terms, operands) if terms.has(Term.QUERY_KEY) else None
    position = position_query(terms, operands)
    return BlockwiseInputs(
        value=operands.value,
        query=query,
        key=None if query is None else operands.key,
        key_logits=logits,
        position_query=None if position is None else position.expand(batch, -1, -1, -1),
        attend_mask=support.pair_mask(grid, batch, heads),
        relative=operands.relative if terms.use_position else (),
    )


def _masked_key_logits(
    terms: Term, operands: Operands, grid: Grid, support: Support
) -> Float[Tensor, "#b #h k"] | None:
    """E3 where E1 is off, and padding, in float32 at least; None where neither exists.

    Source: Zhu et al. 2019, https://arxiv.org/abs/1904.05873, equation 2.
    """
    logits = None
    if terms.has(Term.KEY) and not terms.has(Term.QUERY_KEY):
        key, bias = (upcast(cast(Tensor, x)) for x in (operands.key, operands.key_bias))
        logits = key_logits(terms, replace(operands, key=key, key_bias=bias))
    mask = support.key_mask(grid, operands.value.shape[0])
    if mask is None:
        return logits
    if logits is None:
        logits = upcast(operands.value.new_zeros(1, 1, mask.shape[-1]))
    return torch.where(mask[:, :, 0], logits, mask_value(logits.dtype))


_ARGUMENTS = """
    Tensor value, Tensor? query, Tensor? key, Tensor? key_logits, Tensor? position_query,
    Tensor? attend_mask, Tensor[] relative, SymInt[] queries, SymInt[] keys, SymInt key_stride,
    SymInt first_query, bool causal, SymInt? window, bool has_key_padding, bool factored
"""
_TAGS = (torch.Tag.cudagraph_unsafe,)
"""The loop reads numbers back from the GPU, which a CUDA graph cannot record."""
_SINGLE = 6
"""The first arguments are this many tensors, or None; the last, the mask, has no gradient."""


def _parse(arguments: Sequence[Any]) -> BlockLoop:
    """The loop, from the order of `_ARGUMENTS`; all tensors become contiguous."""
    single, (relative, *rest) = arguments[:_SINGLE], arguments[_SINGLE:]
    queries, keys, key_stride, first_query, causal, window, padding, factored = rest
    tensors: list[Any] = [None if x is None else x.contiguous() for x in single]
    inputs = BlockwiseInputs(*tensors, relative=tuple(axis.contiguous() for axis in relative))
    grid = Grid(tuple(queries), tuple(keys), key_stride, first_query)
    structure = Structure(causal, window, padding, has_attn_mask=tensors[-1] is not None)
    return BlockLoop(inputs, grid, structure, factored)


@torch.library.custom_op(
    "quatrain::blockwise_attention", mutates_args=(), schema=f"({_ARGUMENTS}) -> Tensor", tags=_TAGS
)
def _blockwise_attention(*arguments: Any) -> Tensor:
    loop = _parse(arguments)
    with autocast_disabled(loop.inputs.value):
        return loop.forward()


@_blockwise_attention.register_fake
def _(*arguments: Any) -> Tensor:
    value, queries = arguments[0], arguments[_SINGLE + 1]
    return value.new_empty(*value.shape[:2], math.prod(queries), value.shape[-1])


@torch.library.custom_op(
    "quatrain::blockwise_attention_backward",
    mutates_args=(),
    schema=f"(Tensor output, Tensor grad_output, {_ARGUMENTS}) -> Tensor[]",
    tags=_TAGS,
)
def _blockwise_attention_backward(
    output: Tensor, grad_output: Tensor, *arguments: Any
) -> list[Tensor]:
    loop = _parse(arguments)
    with autocast_disabled(output):
        grads = loop.backward(output, grad_output)
    return [x.contiguous() for x in _differentiable((*vars(grads).values(),))]


@_blockwise_attention_backward.register_fake
def _(output: Tensor, grad_output: Tensor, *arguments: Any) -> list[Tensor]:
    del output, grad_output
    return [x.new_empty(x.shape) for x in _differentiable(arguments)]


def _differentiable(arguments: Sequence[Any]) -> list[Tensor]:
    """The tensors among the arguments that have a gradient."""
    single, relative = arguments[: _SINGLE - 1], arguments[_SINGLE]
    return [x for x in (*single, *relative) if x is not None]


def _setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    ctx.save_for_backward(output, *inputs[:_SINGLE], *inputs[_SINGLE])
    ctx.rest = inputs[_SINGLE + 1 :]


def _backward(ctx: Any, grad_output: Tensor) -> tuple[Any, ...]:
    output, *tensors = ctx.saved_tensors
    single, relative = tensors[:_SINGLE], tensors[_SINGLE:]
    grads = _blockwise_attention_backward(
        output, grad_output.contiguous(), *single, relative, *ctx.rest
    )
    refuse_second_derivatives(grads, USE_REFERENCE)
    remaining = iter(grads)
    grad_single = [None if x is None else next(remaining) for x in single[: _SINGLE - 1]]
    grad_relative = [next(remaining) for _ in relative]
    return (*grad_single, None, grad_relative, *(None for _ in ctx.rest))


_blockwise_attention.register_autograd(_backward, setup_context=_setup_context)
