"""Attention of a block of queries by the softmax of its logits, which serves everything.

The weights of the block are all that is ever held of the pairs of queries and keys; for the
gradients they are made again.

Shapes: b batch, h heads, q queries, n queries of a block, k keys that it reaches, d e widths,
c channels: those of a value, and 1.
"""

import math
from dataclasses import dataclass, field
from functools import cached_property
from typing import cast

import torch
from jaxtyping import Float
from torch import Tensor

from quatrain.ops.attention.blockwise.inputs import Factors, add, add_product, excluded, is_excluded
from quatrain.ops.attention.blockwise.query_block import Block
from quatrain.ops.attention.blockwise.workspace import Room
from quatrain.ops.support import Structure


@dataclass(frozen=True)
class Turned:
    """Keys and values with their channels in rows, which matrix products read much faster.

    Beside them lies the memory for the pairs of a block, and for the slopes of their weights.

    Source: our own; on one core of 2 GHz a product of 64 queries with 4,096 keys of width 32 takes
    0.32 ms so and 0.56 ms with keys in rows.
    """

    factors: Factors
    pairs: Room = field(default_factory=Room)
    slopes: Room = field(default_factory=Room)

    def shape(self, block: Block) -> tuple[int, int, int, int]:
        """Sizes b, h, n and k of the weights of a block."""
        batch, heads = self.factors.value.shape[:2]
        return batch, heads, block.count, math.prod(map(len, block.keys))

    @cached_property
    def key(self) -> Float[Tensor, "b h d k"]:
        """Keys of all queries."""
        return cast(Tensor, self.factors.key).mT.contiguous()

    @cached_property
    def values(self) -> Float[Tensor, "b h c k"]:
        """Values, and 1."""
        value = self.factors.value.mT
        return torch.cat((value, torch.ones_like(value[:, :, :1])), dim=2)


def weights(
    turned: Turned, block: Block, tables: list[Tensor], structure: Structure
) -> Float[Tensor, "b h n k"]:
    """The weights of a block, from its position tables and the rest; the next block's replace them.

    Source: Zhu et al. 2019, https://arxiv.org/abs/1904.05873, equation 2.
    """
    factors = turned.factors
    scores = _logits(turned, block, tables)
    if factors.attend_mask is not None:
        mask = factors.attend_mask
        mask = mask if mask.shape[2] == 1 else mask[:, :, block.queries]
        scores.masked_fill_(~block.in_a_row(mask, 3), excluded(scores.dtype))
    if structure.window is None and not structure.has_key_padding and not structure.has_attn_mask:
        return torch.softmax(scores, -1, out=scores)
    empty = is_excluded(scores.amax(-1, keepdim=True))
    made = torch.softmax(scores, -1, out=scores)
    if made.device.type != "cpu" or bool(empty.any()):  # to ask, a GPU would be waited for
        made.masked_fill_(empty, 0.0)
    return made


def mix(weights: Float[Tensor, "b h n k"], turned: Turned, block: Block) -> Tensor:
    """The weighted sums of values, (b, h, n, e)."""
    return weights @ block.in_a_row(turned.factors.value, 2)


def gradients(
    weights: Float[Tensor, "b h n k"],
    turned: Turned,
    found: Factors,
    block: Block,
    mixed: Float[Tensor, "b h n e"],
    given: Float[Tensor, "b h n e"],
) -> tuple[Tensor, ...]:
    """Those of the position tables, if there are any; the rest is added to what was `found`.

    The weights become the gradient of the logits.
    """
    factors = turned.factors
    _give_to_keys(found.value, given.mT, weights, block)
    # The mean of what enters is subtracted by the product itself, as one more channel.
    mean = (given * mixed).sum(-1, keepdim=True)
    values = block.in_a_row(turned.values, 3)
    entering, slopes = torch.cat((given, -mean), dim=-1), turned.slopes.of(weights.shape, weights)
    torch.bmm(entering.flatten(0, 1), values.flatten(0, 1), out=slopes.flatten(0, 1))
    of_logits = weights.mul_(slopes)
    if found.key_logits is not None:
        add(block.reached(found.key_logits, 2), of_logits.sum(2))
    if found.asks is not None and factors.asks is not None:
        key = block.in_a_row(cast(Tensor, factors.key), 2)
        found.asks[:, :, block.queries] += of_logits @ key
        asks = factors.asks[:, :, block.queries]
        _give_to_keys(cast(Tensor, found.key), asks.mT, of_logits, block)
    if factors.position_query is None:
        return ()
    if block.grid.ndim == 1:
        return (of_logits,)
    by_place = of_logits.unflatten(3, tuple(map(len, block.keys)))
    return by_place.sum(4), by_place.sum(3)


def _logits(turned: Turned, block: Block, tables: list[Tensor]) -> Float[Tensor, "b h n k"]:
    """All logits of a block; the product adds to what is there already."""
    factors = turned.factors
    logits = turned.pairs.of(turned.shape(block), factors.value)
    _lay_out(tables, logits, tuple(map(len, block.keys)))
    if factors.key_logits is not None:
        logits += block.in_a_row(factors.key_logits, 2)[:, :, None]
    if factors.asks is not None:
        asks, key = factors.asks[:, :, block.queries], block.in_a_row(turned.key, 3)
        add_product(logits.flatten(0, 1), asks, key)
    return logits


def _lay_out(tables: list[Tensor], logits: Float[Tensor, "b h n k"], keys: tuple[int, ...]) -> None:
    """The position logits of each pair."""
    if not tables:
        logits.zero_()
    elif len(tables) == 1:
        logits.copy_(tables[0])
    else:
        by_place = logits.unflatten(3, keys)
        rows, columns = tables[0][..., :, None], tables[1][..., None, :]
        torch.add(rows.expand_as(by_place), columns.expand_as(by_place), out=by_place)


def _give_to_keys(
    total: Float[Tensor, "b h all_k c"],
    left: Float[Tensor, "b h c n"],
    right: Float[Tensor, "b h n k"],
    block: Block,
) -> None:
    """Add the product to the keys of a total that lies in memory with its channels in rows."""
    if block.reaches_all:
        add_product(total.mT.view(-1, *total.mT.shape[2:]), left, right)
    else:
        add(block.reached(total, 2), (left @ right).mT)
