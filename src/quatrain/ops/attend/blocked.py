"""Attention by blocks of queries: one block's weights are made, used and forgotten.

The weights of a block are all that is ever held of the pairs of queries and keys; the backward
pass makes them again. Two ways make them:

    softmax   exp of all logits, content and position, over their sum; serves everything
    product   the softmaxes of the two position tables multiplied, times the share of the key, over
              their sum; serves maps where no query meets key content, and exponentiates no pair

A product of exponentials that were shifted apart underflows when the logits are spread wide. A
block in which that may have lost anything is made again by the softmax, here, so that nothing
outside depends on the numbers.

Shapes: b batch, h heads, q queries, n queries of a block, k keys that it reaches, d e widths.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, fields
from typing import Any, cast

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from quatrain.ops.attend.blocks import Block, blocks, table, table_gradients
from quatrain.ops.positions import Grid
from quatrain.ops.support import Structure

CELLS = 2**19
"""Weights that are made at once, as far as one head of one block allows: a cache holds them."""


def excluded(dtype: torch.dtype) -> float:
    """The logit that stands for no weight: any sum of a few of them is still finite.

    It is a power of two, which types of fewer bits and the same range hold exactly.
    """
    _, exponent = math.frexp(torch.finfo(dtype).max)
    return -math.ldexp(1.0, exponent - 3)


@dataclass(frozen=True)
class Factors:
    """What logits and output are made of, in float32 or float64; a size of 1 is for all.

    `asks` meet `key`, `position_asks` meet `relative`; `key_logits` are added for each key, and
    are `excluded` at padding.

    Source: Zhu et al. 2019, https://arxiv.org/abs/1904.05873, equation 2.
    """

    value: Float[Tensor, "b h k e"]
    asks: Float[Tensor, "b h q d"] | None
    key: Float[Tensor, "b h k d"] | None
    key_logits: Float[Tensor, "#b #h k"] | None
    position_asks: Float[Tensor, "#b h #q d"] | None
    attend_mask: Bool[Tensor, "#b #h #q k"] | None
    relative: tuple[Float[Tensor, "h _ d"], ...]

    def part(self, batch: slice, heads: slice) -> "Factors":
        """Those of some batch elements and heads, as views."""
        chosen: dict[str, Any] = {field.name: getattr(self, field.name) for field in fields(self)}
        relative = tuple(axis[heads] for axis in chosen.pop("relative"))
        views: dict[str, Any] = {n: part_of(x, batch, heads) for n, x in chosen.items()}
        return Factors(**views, relative=relative)


def part_of(x: Tensor | None, batch: slice, heads: slice) -> Tensor | None:
    """The view of some batch elements and heads, where `x` differs between them."""
    if x is None:
        return None
    x = x if x.shape[0] == 1 else x[batch]
    return x if x.shape[1] == 1 else x[:, heads]


def at_once(grid: Grid, batch: int, heads: int) -> tuple[int, int]:
    """How many batch elements and heads have blocks that hold about `CELLS` weights together."""
    longest = max(block.count for block in blocks(grid, Structure())) * math.prod(grid.keys)
    fitting = max(1, min(heads, CELLS // longest))
    elements = max(1, CELLS // (longest * heads)) if fitting == heads else 1
    return max(1, min(batch, elements)), fitting


def parts(factors: Factors, grid: Grid) -> Iterator[tuple[slice, slice]]:
    """Batch elements and heads in groups of `at_once`."""
    batch, heads = factors.value.shape[:2]
    elements, fitting = at_once(grid, batch, heads)
    for element in range(0, batch, elements):
        for head in range(0, heads, fitting):
            yield slice(element, element + elements), slice(head, head + fitting)


def weigh(
    factors: Factors, block: Block, structure: Structure, *, product: bool
) -> tuple[Float[Tensor, "b h n k"], Float[Tensor, "b h n 1"] | None]:
    """The weights of a block, and what they are still to be multiplied with, if anything.

    Source: Zhu et al. 2019, https://arxiv.org/abs/1904.05873, equation 2.
    """
    tables = _tables(factors, block, structure)
    if product:
        weights, total = _product(factors, block, tables)
        if total is None or bool((total > _smallest_safe(weights)).all()):
            return weights, None if total is None else total.reciprocal()
    scores = _logits(factors, block, tables)
    if factors.attend_mask is not None:
        mask = factors.attend_mask
        mask = mask if mask.shape[2] == 1 else mask[:, :, block.queries]
        scores.masked_fill_(~block.reached(mask, 3).flatten(3), excluded(scores.dtype))
    if structure.window is None and not structure.padded and not structure.picked:
        return torch.softmax(scores, -1, out=scores), None
    empty = scores.amax(-1, keepdim=True) < excluded(scores.dtype) / 2
    weights = torch.softmax(scores, -1, out=scores)
    if weights.device.type != "cpu" or bool(empty.any()):  # to ask, a GPU would be waited for
        weights.masked_fill_(empty, 0.0)
    return weights, None


def _tables(factors: Factors, block: Block, structure: Structure) -> list[Tensor]:
    """Position logits along each axis, `excluded` where causality or window leave a key out."""
    made = []
    if factors.position_asks is not None:
        asks = factors.position_asks
        asks = asks if asks.shape[2] == 1 else asks[:, :, block.queries]
        made = [table(asks, along, block, axis) for axis, along in enumerate(factors.relative)]
    if not structure.causal and structure.window is None:
        return made
    last = block.grid.ndim - 1
    outside = ~structure.keeps(block.offsets(last, factors.value.device))
    if not made:
        zero = factors.value.new_zeros(())
        made = [zero.expand(1, 1, 1, len(block.keys[0]))] * last
        made.append(zero.expand(1, 1, block.count, len(block.keys[-1])))
    made[last] = made[last].masked_fill(outside, excluded(factors.value.dtype))
    return made


def _logits(factors: Factors, block: Block, tables: list[Tensor]) -> Float[Tensor, "b h n k"]:
    """All logits of a block, in memory of their own."""
    shape = (*factors.value.shape[:2], block.count, math.prod(map(len, block.keys)))
    if factors.asks is not None and factors.key is not None:
        scores = factors.asks[:, :, block.queries] @ block.reached(factors.key, 2).flatten(2, -2).mT
    else:
        scores = factors.value.new_zeros(shape)
    if len(tables) == 1:
        scores += tables[0]
    elif tables:
        by_place = scores.unflatten(3, tuple(map(len, block.keys)))
        by_place += tables[0][..., :, None]
        by_place += tables[1][..., None, :]
    if factors.key_logits is not None:
        scores += block.reached(factors.key_logits, 2).flatten(2)[:, :, None]
    return scores


def _product(
    factors: Factors, block: Block, tables: list[Tensor]
) -> tuple[Float[Tensor, "b h n k"], Float[Tensor, "b h n 1"] | None]:
    """Weights by multiplication, and their sums where these are not 1."""
    rows, columns = (each.softmax(-1) for each in tables)
    weights = (rows[..., :, None] * columns[..., None, :]).flatten(3)
    lost = tables[1].amax(-1, keepdim=True) < excluded(weights.dtype) / 2
    if factors.key_logits is None:
        return weights, None if not bool(lost.any()) else (~lost).to(weights.dtype)
    logits = block.reached(factors.key_logits, 2).flatten(2)
    highest = logits.amax(-1, keepdim=True)
    lost = lost | (highest < excluded(weights.dtype) / 2)[..., None]
    weights = weights * (logits - highest).exp()[:, :, None]
    return weights, weights.sum(-1, keepdim=True).masked_fill(lost, 0.0)


def _smallest_safe(weights: Float[Tensor, "b h n k"]) -> float:
    """Sums of products above this have lost no more than a rounding to underflow."""
    known = torch.finfo(weights.dtype)
    return weights.shape[-1] * known.tiny / known.eps**1.5


def mix(
    factors: Factors, grid: Grid, structure: Structure, *, product: bool
) -> Float[Tensor, "b h q e"]:
    """The weighted sum of values of each query, block by block."""
    batch, heads, _, width = factors.value.shape
    mixed = factors.value.new_zeros(batch, heads, math.prod(grid.queries), width)
    for group in parts(factors, grid):
        ours, target = factors.part(*group), mixed[group]
        for block in blocks(grid, structure):
            if not all(block.keys):
                continue
            weights, factor = weigh(ours, block, structure, product=product)
            sums = weights @ block.reached(ours.value, 2).flatten(2, -2)
            target[:, :, block.queries] = sums if factor is None else sums * factor
    return mixed


def gradients(
    factors: Factors,
    grid: Grid,
    structure: Structure,
    mixed: Float[Tensor, "b h q e"],
    given: Float[Tensor, "b h q e"],
    *,
    product: bool,
) -> Factors:
    """From the gradient of `mix` to those of all factors."""
    found = _zeros(factors)
    for group in parts(factors, grid):
        ours, theirs = factors.part(*group), found.part(*group)
        output, gradient = mixed[group], given[group]
        for block in blocks(grid, structure):
            if not all(block.keys):
                continue
            weights, factor = weigh(ours, block, structure, product=product)
            entering = gradient[:, :, block.queries]
            # The mean of what enters is subtracted by the product itself, as one more channel.
            mean = (entering * output[:, :, block.queries]).sum(-1, keepdim=True)
            entering = torch.cat((entering, -mean), dim=-1)
            entering = entering if factor is None else entering * factor
            value = block.reached(ours.value, 2).flatten(2, -2)
            _add(block.reached(theirs.value, 2), (entering[..., :-1].mT @ weights).mT)
            value = torch.cat((value, torch.ones_like(value[..., :1])), dim=-1)
            _spend(weights.mul_(entering @ value.mT), ours, theirs, block)
    return found


def _zeros(factors: Factors) -> Factors:
    """Where gradients are summed; those of keys lie in memory as the products make them."""

    def zeros(x: Tensor | None) -> Tensor | None:
        return None if x is None else torch.zeros_like(x)

    def turned(x: Tensor | None) -> Tensor | None:
        return None if x is None else x.new_zeros(x.mT.shape).mT

    return Factors(
        value=factors.value.new_zeros(factors.value.mT.shape).mT,
        asks=zeros(factors.asks),
        key=turned(factors.key),
        key_logits=zeros(factors.key_logits),
        position_asks=zeros(factors.position_asks),
        attend_mask=None,
        relative=tuple(torch.zeros_like(axis) for axis in factors.relative),
    )


def _spend(given: Float[Tensor, "b h n k"], factors: Factors, found: Factors, block: Block) -> None:
    """Add what the gradient of a block's logits gives to what they are made of."""
    if found.key_logits is not None:
        _add(block.reached(found.key_logits, 2), given.sum(2))
    if found.asks is not None and factors.asks is not None:
        asks, key = factors.asks[:, :, block.queries], cast(Tensor, factors.key)
        found.asks[:, :, block.queries] += given @ block.reached(key, 2).flatten(2, -2)
        _add(block.reached(cast(Tensor, found.key), 2), (asks.mT @ given).mT)
    if factors.position_asks is None or found.position_asks is None:
        return
    by_place = given.unflatten(3, tuple(map(len, block.keys)))
    tables = (given,) if given.ndim == by_place.ndim else (by_place.sum(4), by_place.sum(3))
    here = slice(None) if factors.position_asks.shape[2] == 1 else block.queries
    asks = factors.position_asks[:, :, here]
    for axis, of_table in enumerate(tables):
        relative = factors.relative[axis]
        to_asks, to_relative = table_gradients(of_table, asks, relative, block, axis)
        _add(found.position_asks[:, :, here], to_asks)
        found.relative[axis][:, block.occurring(axis)] += to_relative


def _add(total: Tensor, part: Tensor) -> None:
    """Add in place, summing over the axes on which the total is one for all."""
    wanted = [
        1 if size == 1 else given
        for size, given in zip(total.shape[:2], part.shape[:2], strict=True)
    ]
    part = part.sum_to_size(*wanted, *part.shape[2:])
    total += part.reshape(total.shape)
