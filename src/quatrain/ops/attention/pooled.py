"""Attention whose weights do not depend on the query: values are pooled once for all queries.

It computes 0010 and 0000. Without causality all queries share one pooled vector. With it, each
query needs the pool of the keys up to it: a running softmax, in blocks. Within a block a triangle
of weights computes it; all earlier blocks enter as one more key, whose logit is their logsumexp
and whose value is their mean. These come from the same function with one block as one key, so the
work is linear in the keys, and exact whatever the spread of the logits. A null key multiplies the
mean of a query by the sigmoid of its logsumexp.

Shapes: b batch, h heads, q queries, k n keys, d width of a key, e width of a value.
"""

import math

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn.functional import pad

from quatrain.ops.attention.reference import masked_softmax, softmax_and_lse
from quatrain.ops.positions import block_index, is_symbolic
from quatrain.ops.precision import autocast_disabled
from quatrain.ops.terms import AttentionInputs, key_logits

BLOCK = 32
"""Keys of a block of the running softmax, which stores this many weights per key."""
_EXPORTED_LEVELS = 2
"""Levels of blocks where the length is a symbol; they reduce 1,024 keys to one."""


def pooled_attention(inputs: AttentionInputs) -> Float[Tensor, "b h q e"]:
    """The weighted sum of values of each query; zeros where its support is empty.

    Source: Zhu et al. 2019, https://arxiv.org/abs/1904.05873, section 3.1 (the key content term
        is a saliency that all queries share).
    """
    with autocast_disabled(inputs.value):
        return _pool(inputs.upcast()).to(inputs.value.dtype)


def _pool(inputs: AttentionInputs) -> Float[Tensor, "b h q e"]:
    value, grid = inputs.value, inputs.grid
    batch, heads, keys, _ = value.shape
    logits = key_logits(inputs.terms, inputs.operands).expand(-1, heads, keys)
    mask = inputs.support.key_mask(grid, batch)
    if not inputs.support.causal:
        null_key = inputs.support.null_key
        weights = masked_softmax(logits[:, :, None], mask, null_key=null_key)
        return (weights @ value).expand(-1, -1, math.prod(grid.queries), -1)
    if mask is not None:
        logits = torch.where(mask[:, :, 0], logits, -torch.inf)
    lse, means = running_softmax(logits.expand(batch, -1, -1), value, _levels(keys))
    if inputs.support.null_key:
        means = means * lse.sigmoid()[..., None]
    if grid.queries == grid.keys and grid.key_stride == 1 and grid.first_query == 0:
        return means
    positions = torch.arange(grid.queries[0], device=value.device) + grid.first_query
    return means[:, :, (positions // grid.key_stride).clamp(max=keys - 1)]


def running_softmax(
    logits: Float[Tensor, "b h n"], value: Float[Tensor, "b h n e"], levels: int
) -> tuple[Float[Tensor, "b h n"], Float[Tensor, "b h n e"]]:
    """For each key, over all keys up to it: the logsumexp, and the weighted mean of values.

    A logit of minus infinity masks a key.

    Source: Milakov and Gimelshein 2018, https://arxiv.org/abs/1805.02867, section 3.1 (lse and
        mean of two parts combine into those of the whole).
    """
    keys = logits.shape[2]
    if levels == 0:
        return _triangular_softmax(logits, value)
    # For a symbol at least two blocks, since a graph of one fits no other length.
    count = keys // BLOCK + 2 if isinstance(keys, torch.SymInt) else -(-keys // BLOCK)
    missing = count * BLOCK - keys
    logits = _blocks(pad(logits, (0, missing), value=-torch.inf), count)
    value = _blocks(pad(value, (0, 0, 0, missing)), count)
    weights, lse = softmax_and_lse(logits, logits > -torch.inf)
    mean = (weights[..., None, :] @ value)[..., 0, :]
    lse, mean = running_softmax(lse, mean, levels - 1)
    lse = pad(lse, (1, 0), value=-torch.inf)[:, :, :count]
    mean = pad(mean, (0, 0, 1, 0))[:, :, :count]
    logits = torch.cat((lse[..., None], logits), dim=-1)
    value = torch.cat((mean[..., None, :], value), dim=-2)
    lse, means = _triangular_softmax(logits, value, skip=1)
    return _first(lse.flatten(2), keys), _first(means.flatten(2, 3), keys)


def _blocks(x: Float[Tensor, "b h padded *e"], count: int) -> Float[Tensor, "b h count k *e"]:
    """The third axis as blocks."""
    if not is_symbolic(count):
        return x.unflatten(2, (count, BLOCK))
    return x[:, :, block_index(count, BLOCK, BLOCK, x.device)]


def _first(x: Float[Tensor, "b h padded *e"], keys: int) -> Float[Tensor, "b h n *e"]:
    """The first keys of the third axis."""
    return x[:, :, torch.arange(keys, device=x.device)] if is_symbolic(keys) else x[:, :, :keys]


def _triangular_softmax(
    logits: Float[Tensor, "*lead k"], value: Float[Tensor, "*lead k e"], skip: int = 0
) -> tuple[Float[Tensor, "*lead q"], Float[Tensor, "*lead q e"]]:
    """Lse and mean over all keys up to each key but the first `skip`, by a triangle of weights."""
    keys = logits.shape[-1]
    order: Bool[Tensor, "q k"] = torch.ones(
        keys - skip, keys, dtype=torch.bool, device=logits.device
    ).tril(skip)
    logits = logits[..., None, :].expand(*logits.shape[:-1], keys - skip, keys)
    weights, lse = softmax_and_lse(logits, order & (logits > -torch.inf))
    return lse, weights @ value


def _levels(keys: int) -> int:
    """How often the keys are divided into blocks until one block is left."""
    if isinstance(keys, torch.SymInt):
        return _EXPORTED_LEVELS
    return 0 if keys <= BLOCK else 1 + _levels(-(-keys // BLOCK))
