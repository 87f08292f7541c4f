"""The softmax over a query block, for every term set, mask and window.

Only the weights of one block of query-key pairs are in memory; the backward pass computes them
again. A null key is one more column of logits, 0, whose weights no product reads; masked columns
fill the row.

Shapes: b batch, h heads, q queries, n queries of a block, k keys that it reaches, d width of a key,
e width of a value, c e + 1 channels: those of a value, and 1.
"""

import math
from dataclasses import dataclass, field
from functools import cached_property
from typing import cast

import torch
from jaxtyping import Float
from torch import Tensor

from quatrain.ops.attention.blockwise.inputs import (
    BlockwiseInputs,
    Workspace,
    accumulate,
    accumulate_product,
    is_masked,
    mask_value,
)
from quatrain.ops.attention.blockwise.query_block import QueryBlock, joint_bias_views
from quatrain.ops.support import Structure

NULL_COLUMNS = 8
"""With a null key, rows of logits are a multiple of this long. On one core of 2 GHz the product
that writes rows of 4,097 columns takes 4.9 ms, and 2.0 to 2.6 ms with 4,096 or 4,104."""


@dataclass(frozen=True)
class TransposedInputs:
    """Inputs with keys and values transposed, which matrix products read much faster.

    It has the scratch memory for the weights of a block and for their gradients, too.

    Source: our own; on one core of 2 GHz a product of 64 queries with 4,096 keys of width 32 takes
    0.32 ms so and 0.56 ms with keys in rows.
    """

    inputs: BlockwiseInputs
    weights: Workspace = field(default_factory=Workspace)
    grad_weights: Workspace = field(default_factory=Workspace)

    @cached_property
    def key(self) -> Float[Tensor, "b h d k"]:
        """All keys."""
        return cast(Tensor, self.inputs.key).mT.contiguous()

    @cached_property
    def value_and_one(self) -> Float[Tensor, "b h c k"]:
        """All values, and 1."""
        value = self.inputs.value.mT
        return torch.cat((value, torch.ones_like(value[:, :, :1])), dim=2)


def softmax_weights(
    transposed: TransposedInputs, block: QueryBlock, biases: list[Tensor], structure: Structure
) -> Float[Tensor, "b h n k"]:
    """The weights of a block, from its position bias per axis; the next block overwrites them.

    Source: Zhu et al. 2019, https://arxiv.org/abs/1904.05873, equation 2.
    """
    inputs = transposed.inputs
    keys = width = math.prod(map(len, block.keys))
    if structure.null_key:
        width += NULL_COLUMNS - keys % NULL_COLUMNS
    shape = (*inputs.value.shape[:2], block.count, width)
    columns = transposed.weights.buffer(shape, inputs.value)
    logits = columns[..., :keys]
    _write_logits(transposed, block, biases, logits)
    if inputs.attend_mask is not None:
        mask = inputs.attend_mask
        mask = mask if mask.shape[2] == 1 else mask[:, :, block.queries]
        logits.masked_fill_(~block.narrow_flat(mask, 3), mask_value(logits.dtype))
    if structure.null_key:
        columns[..., keys] = 0.0
        columns[..., keys + 1 :] = mask_value(logits.dtype)
        return torch.softmax(columns, -1, out=columns)[..., :keys]
    rows_may_be_empty = structure.has_key_padding or structure.has_attn_mask
    if structure.window is None and not rows_may_be_empty:
        return torch.softmax(logits, -1, out=logits)
    empty = is_masked(logits.amax(-1, keepdim=True))
    weights = torch.softmax(logits, -1, out=logits)
    if weights.device.type != "cpu" or bool(empty.any()):  # on a GPU, bool() would synchronize
        weights.masked_fill_(empty, 0.0)
    return weights


def softmax_backward(
    weights: Float[Tensor, "b h n k"],
    transposed: TransposedInputs,
    grads: BlockwiseInputs,
    block: QueryBlock,
    output: Float[Tensor, "b h n e"],
    grad_output: Float[Tensor, "b h n e"],
) -> tuple[Tensor, ...]:
    """Gradients of the block's position biases, if it has any; others are added to `grads`.

    The weights are overwritten with the gradient of the logits.
    """
    inputs = transposed.inputs
    _accumulate_by_key(grads.value, grad_output.mT, weights, block)
    # One more channel lets the product itself subtract the mean, grad_output . output.
    mean = (grad_output * output).sum(-1, keepdim=True)
    values = block.narrow_flat(transposed.value_and_one, 3)
    grad_weights = transposed.grad_weights.buffer(weights.shape, weights)
    left = torch.cat((grad_output, -mean), dim=-1)
    torch.bmm(left.flatten(0, 1), values.flatten(0, 1), out=grad_weights.flatten(0, 1))
    grad_logits = weights.mul_(grad_weights)
    if grads.key_logits is not None:
        accumulate(block.narrow(grads.key_logits, 2), grad_logits.sum(2))
    if grads.query is not None and inputs.query is not None:
        key = block.narrow_flat(cast(Tensor, inputs.key), 2)
        grads.query[:, :, block.queries] += grad_logits @ key
        query = inputs.query[:, :, block.queries]
        _accumulate_by_key(cast(Tensor, grads.key), query.mT, grad_logits, block)
    if grads.joint_table is not None:
        by_query = grad_logits.unflatten(3, tuple(map(len, block.keys))).unbind(2)
        for view, grad in zip(joint_bias_views(grads.joint_table, block), by_query, strict=True):
            view.add_(grad.sum(0))
    if inputs.position_query is None:
        return ()
    if block.grid.ndim == 1:
        return (grad_logits,)
    on_map = grad_logits.unflatten(3, tuple(map(len, block.keys)))
    return on_map.sum(4), on_map.sum(3)


def _write_logits(
    transposed: TransposedInputs,
    block: QueryBlock,
    biases: list[Tensor],
    logits: Float[Tensor, "b h n k"],
) -> None:
    """Overwrite with all logits of a block: content is added to the position bias."""
    inputs = transposed.inputs
    keys = tuple(map(len, block.keys))
    _write_position_bias(biases, logits, keys)
    if inputs.joint_table is not None:
        by_query = logits.unflatten(3, keys).unbind(2)
        for view, part in zip(joint_bias_views(inputs.joint_table, block), by_query, strict=True):
            part.add_(view)
    if inputs.key_logits is not None:
        logits += block.narrow_flat(inputs.key_logits, 2)[:, :, None]
    if inputs.query is not None:
        query, key = inputs.query[:, :, block.queries], block.narrow_flat(transposed.key, 3)
        accumulate_product(logits.flatten(0, 1), query, key)


def _write_position_bias(
    biases: list[Tensor], logits: Float[Tensor, "b h n k"], keys: tuple[int, ...]
) -> None:
    """Overwrite logits with the sum of the position biases of all axes; zeros without any."""
    if not biases:
        logits.zero_()
    elif len(biases) == 1:
        logits.copy_(biases[0])
    else:
        on_map = logits.unflatten(3, keys)
        rows, columns = biases[0][..., :, None], biases[1][..., None, :]
        torch.add(rows.expand_as(on_map), columns.expand_as(on_map), out=on_map)


def _accumulate_by_key(
    total: Float[Tensor, "b h all_k c"],
    left: Float[Tensor, "b h c n"],
    right: Float[Tensor, "b h n k"],
    block: QueryBlock,
) -> None:
    """Add a product to the block's keys in `total`, whose memory has channels in rows."""
    if block.reaches_all:
        accumulate_product(total.mT.view(-1, *total.mT.shape[2:]), left, right)
    else:
        accumulate(block.narrow(total, 2), (left @ right).mT)
