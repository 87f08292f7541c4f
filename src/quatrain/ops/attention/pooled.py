"""Attention whose weights do not depend on the query: values are pooled once for all queries.

It serves 0010 and 0000. Without an order one pooled vector serves every query. With one, each
query wants the pool of the keys up to it: a running softmax, by blocks. Within a block a triangle
of weights does; what lies before the block enters as one more key, whose logit is the total of
all earlier blocks and whose value is their mean. These come from the same function, one block
being one key, so the work is linear in the keys, and exact whatever the spread of the logits.

Shapes: b batch, h heads, q queries, k n keys, m blocks of r keys, d e widths.
"""

import math

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn.functional import pad

from quatrain.ops.attention.reference import masked_softmax
from quatrain.ops.attention.softmax_lse import softmax_and_lse
from quatrain.ops.positions import Grid
from quatrain.ops.precision import autocast_disabled
from quatrain.ops.support import Support
from quatrain.ops.terms import Operands, key_logits, upcast_operands
from quatrain.specs import Term

BLOCK = 32
"""Keys of a block of the running softmax: the weights that are held are this many for each key."""
_EXPORTED_LEVELS = 2
"""Levels of blocks where the length is a symbol; they leave one key of a thousand."""


def attend(
    terms: Term, operands: Operands, grid: Grid, support: Support
) -> Float[Tensor, "b h q e"]:
    """The weighted sum of values of each query; zeros where its support is empty.

    Source: Zhu et al. 2019, https://arxiv.org/abs/1904.05873, section 3.1 (the key content term
        is a saliency that all queries share).
    """
    with autocast_disabled(operands.value):
        return _pooled(terms, upcast_operands(operands), grid, support).to(operands.value.dtype)


def _pooled(
    terms: Term, operands: Operands, grid: Grid, support: Support
) -> Float[Tensor, "b h q e"]:
    value = operands.value
    batch, heads, keys, _ = value.shape
    scores = key_logits(terms, operands).expand(-1, heads, keys)
    kept = support.key_mask(grid, batch)
    kept = None if kept is None else kept[:, :, 0]
    if not support.causal:
        pooled = masked_softmax(scores[:, :, None], None if kept is None else kept[:, :, None])
        return (pooled @ value).expand(-1, -1, math.prod(grid.queries), -1)
    if kept is not None:
        scores = torch.where(kept, scores, -torch.inf)
    _, means = running(scores.expand(batch, -1, -1), value, _levels(keys))
    if grid.queries == grid.keys and grid.key_stride == 1 and grid.first_query == 0:
        return means
    here = torch.arange(grid.queries[0], device=value.device) + grid.first_query
    return means[:, :, (here // grid.key_stride).clamp(max=keys - 1)]


def running(
    scores: Float[Tensor, "b h n"], value: Float[Tensor, "b h n e"], levels: int
) -> tuple[Float[Tensor, "b h n"], Float[Tensor, "b h n e"]]:
    """For each key: the total over all keys up to it, and the weighted mean of their values.

    A score of minus infinity marks a key that is out.

    Source: Milakov and Gimelshein 2018, https://arxiv.org/abs/1805.02867, section 3.1 (totals and
        means of two parts combine into those of the whole).
    """
    keys = scores.shape[2]
    if levels == 0:
        return _within(scores, value)
    count = _blocks(keys)
    missing = count * BLOCK - keys
    scores = pad(scores, (0, missing), value=-torch.inf).unflatten(2, (count, BLOCK))
    value = pad(value, (0, 0, 0, missing)).unflatten(2, (count, BLOCK))
    weights, total = softmax_and_lse(scores, scores > -torch.inf)
    mean = (weights[..., None, :] @ value)[..., 0, :]
    total, mean = running(total, mean, levels - 1)
    total = pad(total, (1, 0), value=-torch.inf)[:, :, :count]
    mean = pad(mean, (0, 0, 1, 0))[:, :, :count]
    scores = torch.cat((total[..., None], scores), dim=-1)
    value = torch.cat((mean[..., None, :], value), dim=-2)
    totals, means = _within(scores, value, before=1)
    return totals.flatten(2)[:, :, :keys], means.flatten(2, 3)[:, :, :keys]


def _within(
    scores: Float[Tensor, "*lead k"], value: Float[Tensor, "*lead k e"], before: int = 0
) -> tuple[Float[Tensor, "*lead q"], Float[Tensor, "*lead q e"]]:
    """Each key but the first `before`, with all keys up to it: a triangle of weights."""
    keys = scores.shape[-1]
    order: Bool[Tensor, "q k"] = torch.ones(
        keys - before, keys, dtype=torch.bool, device=scores.device
    ).tril(before)
    scores = scores[..., None, :].expand(*scores.shape[:-1], keys - before, keys)
    weights, totals = softmax_and_lse(scores, order & (scores > -torch.inf))
    return totals, weights @ value


def _blocks(keys: int) -> int:
    """Blocks that hold all keys; of a symbol two at least, as a graph of one serves no others."""
    return keys // BLOCK + 2 if isinstance(keys, torch.SymInt) else -(-keys // BLOCK)


def _levels(keys: int) -> int:
    """How often the keys are divided into blocks before one block is left."""
    if isinstance(keys, torch.SymInt):
        return _EXPORTED_LEVELS
    return 0 if keys <= BLOCK else 1 + _levels(-(-keys // BLOCK))
