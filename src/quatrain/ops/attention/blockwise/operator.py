"""Blockwise attention as one custom operator, opaque to torch.compile and torch.export.

Traced, its loop would be unrolled, and a symbolic length would stop it.

Source: Zhu et al. 2019, https://arxiv.org/abs/1904.05873, equation 2, for what it computes.

Shapes: b batch, h heads, q queries, k keys, e width of a value.
"""

import math
from typing import Any, cast

import torch
from jaxtyping import Float
from torch import Tensor
from torch.utils._pytree import tree_leaves

from quatrain.ops.attention.blockwise.inputs import BlockwiseInputs, mask_value
from quatrain.ops.attention.blockwise.loop import BlockLoop
from quatrain.ops.attention.custom_operator import Arguments, register_operator
from quatrain.ops.derivatives import USE_REFERENCE, check_transforms
from quatrain.ops.positions import Grid
from quatrain.ops.precision import autocast_disabled
from quatrain.ops.support import Structure
from quatrain.ops.terms import (
    AttentionInputs,
    biased_query,
    key_logits,
    paired_operands,
    position_operands,
)
from quatrain.specs import Term


def blockwise_attention(
    inputs: AttentionInputs, *, factored: bool = False
) -> Float[Tensor, "b h q e"]:
    """The weighted sum of values of each query; zeros where its support is empty.

    Logits and weights are float32, or float64, whatever the type of the operands. `factored`
    tries weights that are a product over rows and columns (`factored_softmax`): on a map, for
    0100, 0101, 0110 and 0111.

    Source: Zhu et al. 2019, https://arxiv.org/abs/1904.05873, equation 2.
    """
    grid, support = inputs.grid, inputs.support
    with autocast_disabled(inputs.value):
        x = blockwise_inputs(inputs)
        single = (x.value, x.query, x.key, x.key_logits, x.position_query)
        check_transforms((*single, *x.relative, x.joint_table), USE_REFERENCE)
        output = _blockwise_attention(
            *single,
            x.attend_mask,
            list(x.relative),
            x.joint_table,
            list(grid.queries),
            list(grid.keys),
            grid.key_stride,
            grid.first_query,
            support.causal,
            support.window,
            support.key_padding_mask is not None,
            support.null_key,
            factored,
        )
        return output.to(inputs.value.dtype)


def blockwise_inputs(inputs: AttentionInputs) -> BlockwiseInputs:
    """The inputs of the loop, in float32 at least; padding is masked in the key logits.

    Source: Zhu et al. 2019, https://arxiv.org/abs/1904.05873, equation 2.
    """
    inputs = inputs.upcast()
    terms, operands = inputs.terms, inputs.operands
    batch, heads = inputs.value.shape[:2]
    query = key = None
    if terms.has(Term.QUERY_KEY) and operands.shares_keys:
        query, key = biased_query(terms, operands), operands.key
    elif terms.has(Term.QUERY_KEY):
        query, key = paired_operands(operands)
    position, relative = position_operands(terms, operands) or (None, ())
    return BlockwiseInputs(
        value=operands.value,
        query=query,
        key=key,
        key_logits=_masked_key_logits(inputs),
        position_query=None if position is None else position.expand(batch, -1, -1, -1),
        attend_mask=inputs.support.pair_mask(inputs.grid, batch, heads),
        relative=relative,
        joint_table=operands.joint_table if terms.has(Term.POSITION) else None,
    )


def _masked_key_logits(inputs: AttentionInputs) -> Float[Tensor, "#b #h k"] | None:
    """E3 where no query has it, and padding, in float32 at least; None where neither exists."""
    terms, operands, logits = inputs.terms, inputs.operands, None
    if terms.has(Term.KEY) and not (terms.has(Term.QUERY_KEY) and operands.shares_keys):
        logits = key_logits(terms, operands)
    mask = inputs.support.key_mask(inputs.grid, inputs.value.shape[0])
    if mask is None:
        return logits
    if logits is None:
        logits = inputs.value.new_zeros(1, 1, mask.shape[-1])
    return torch.where(mask[:, :, 0], logits, mask_value(logits.dtype))


def _parse(arguments: Arguments) -> BlockLoop:
    """The loop, from the operator's arguments; all tensors become contiguous."""
    (*single, relative, joint_table), rest = arguments[:8], arguments[8:]
    queries, keys, key_stride, first_query, causal, window, padding, null_key, factored = rest
    *tensors, joint = (None if x is None else x.contiguous() for x in (*single, joint_table))
    axes = tuple(axis.contiguous() for axis in relative)
    inputs = BlockwiseInputs(*cast("list[Any]", tensors), relative=axes, joint_table=joint)
    grid = Grid(tuple(queries), tuple(keys), key_stride, first_query)
    has_attn_mask = tensors[-1] is not None
    structure = Structure(causal, window, padding, has_attn_mask, null_key)
    return BlockLoop(inputs, grid, structure, factored)


def _forward(*arguments: Any) -> Tensor:
    with autocast_disabled(arguments[0]):
        return _parse(arguments).forward()


def _fake(*arguments: Any) -> Tensor:
    value, queries = arguments[0], arguments[8]
    return value.new_empty(*value.shape[:2], math.prod(queries), value.shape[-1])


def _backward(grad_output: Tensor, results: list[Tensor], *arguments: Any) -> list[Tensor]:
    with autocast_disabled(grad_output):
        grads = _parse(arguments).backward(results[0], grad_output)
    leaves = tree_leaves(list(vars(grads).values()))
    return [x.contiguous() for x in leaves if x is not None]


_blockwise_attention = register_operator(
    "quatrain::blockwise_attention",
    """Tensor value, Tensor? query, Tensor? key, Tensor? key_logits, Tensor? position_query,
    Tensor? attend_mask, Tensor[] relative, Tensor? joint_table, SymInt[] queries,
    SymInt[] keys, SymInt key_stride, SymInt first_query, bool causal, SymInt? window,
    bool has_key_padding, bool null_key, bool factored""",
    forward=_forward,
    fake=_fake,
    backward=_backward,
    differentiable=(0, 1, 2, 3, 4, 6, 7),
    # The loop reads numbers back from the GPU, which a CUDA graph cannot record.
    tags=(torch.Tag.cudagraph_unsafe,),
)
