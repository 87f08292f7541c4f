"""Attention of a block of queries whose weights are a product, which is never laid out.

On a map where no query meets key content, the weight of a pair is one number for the query and the
row of keys, times one for the query and the column, times the share of the key, over their sum.
Columns are therefore summed first, for every row of keys by one matrix product, and then rows:

    summed[q, ky, :] = sum_kx columns[q, kx] share[ky, kx] [value[ky, kx], 1]
    [mixed, total]   = sum_ky rows[q, ky] summed[q, ky, :]

so that nothing is exponentiated for a pair, and no number for one is ever made. Gradients go the
same way back.

A product of exponentials that were shifted apart underflows when the logits are spread wide: where
that may have lost anything, nothing is told, and who asks takes the softmax.

Shapes: b batch, h heads, n queries of a block, v rows and u columns of the keys that it reaches,
e width of a value, c channels: those of a value, and 1.
"""

from dataclasses import dataclass, field
from functools import cached_property

import torch
from jaxtyping import Float
from torch import Tensor

from quatrain.ops.attention.blockwise.inputs import add_product, is_excluded
from quatrain.ops.attention.blockwise.workspace import Room


@dataclass(frozen=True)
class Keys:
    """Values and 1, each times the share of its key, and what gradients give to them."""

    values: Float[Tensor, "b h u v c"]
    share: Float[Tensor, "#b #h v u"] | None
    by_row: Room = field(default_factory=Room)

    @classmethod
    def of(
        cls,
        value: Float[Tensor, "b h v u e"],
        logits: Float[Tensor, "#b #h v u"] | None,
    ) -> "Keys":
        """Those of a rectangle of keys; without logits, all have the same share."""
        values, share = torch.cat((value, torch.ones_like(value[..., :1])), dim=-1), None
        if logits is not None:
            highest = logits.amax((-2, -1), keepdim=True)
            share = (logits - highest).exp().masked_fill(is_excluded(highest), 0.0)
            values = values * share[..., None]
        return cls(values.transpose(2, 3).contiguous(), share)

    @cached_property
    def given(self) -> Float[Tensor, "b h u v c"]:
        """What blocks give to values and 1, before it is multiplied by the share."""
        return torch.zeros_like(self.values)

    def gradients(self) -> tuple[Float[Tensor, "b h v u e"], Float[Tensor, "b h v u"]]:
        """What blocks have given to values, and to logits."""
        to_logits = (self.given * self.values).sum(-1).transpose(2, 3)
        to_value = self.given[..., :-1].transpose(2, 3)
        return to_value if self.share is None else to_value * self.share[..., None], to_logits


@dataclass(frozen=True)
class Weights:
    """The softmaxes of both position tables of a block."""

    rows: Float[Tensor, "b h n v"]
    columns: Float[Tensor, "b h n u"]

    @classmethod
    def of(cls, tables: list[Tensor]) -> "Weights":
        """Of logits; columns that are all excluded have no weight."""
        rows, columns = (each.softmax(-1) for each in tables)
        lost = is_excluded(tables[1].amax(-1, keepdim=True))
        return cls(rows, columns.masked_fill(lost, 0.0))


@dataclass(frozen=True)
class Sums:
    """Sums over columns for each row of keys, the means of values, and the totals of weights.

    The next block's sums by row replace those of this one.
    """

    by_row: Float[Tensor, "b h n v c"]
    mixed: Float[Tensor, "b h n e"]
    total: Float[Tensor, "b h n 1"]


def mix(weights: Weights, keys: Keys) -> Sums | None:
    """Sums over columns, then rows; None where a total may have lost more than a rounding.

    Source: Zhu et al. 2019, https://arxiv.org/abs/1904.05873, equation 2; that its weights are
        products without the term E1, and this order of sums, are our own.
    """
    sizes = (*weights.columns.shape[:3], *keys.values.shape[3:])
    by_row = keys.by_row.of(sizes, keys.values)
    columns, values = weights.columns.flatten(0, 1), keys.values.flatten(3).flatten(0, 1)
    torch.bmm(columns, values, out=by_row.flatten(3).flatten(0, 1))
    sums = (weights.rows[..., None, :] @ by_row)[..., 0, :]
    total = sums[..., -1:]
    known, count = torch.finfo(total.dtype), weights.rows.shape[-1] * weights.columns.shape[-1]
    if not bool((total > count * known.tiny / known.eps**1.5).all()):
        return None
    return Sums(by_row, sums[..., :-1] / total, total)


def gradients(
    weights: Weights,
    keys: Keys,
    mixed: Float[Tensor, "b h n e"],
    given: Float[Tensor, "b h n e"],
) -> tuple[Float[Tensor, "b h n v"], Float[Tensor, "b h n u"]] | None:
    """Those of the position tables; those of keys are added to what they have been given.

    None where `mix` tells nothing.
    """
    found = mix(weights, keys)
    if found is None:
        return None
    # The mean of what enters is subtracted by the products themselves, in the channel of ones.
    mean = (given * mixed).sum(-1, keepdim=True)
    entering = torch.cat((given, -mean), dim=-1) / found.total
    to_rows = weights.rows * (found.by_row * entering[..., None, :]).sum(-1)
    spread = (weights.rows[..., None] * entering[..., None, :]).flatten(3)
    to_columns = weights.columns * (spread @ keys.values.flatten(3).mT)
    add_product(keys.given.flatten(3).flatten(0, 1), weights.columns.mT, spread)
    return to_rows, to_columns
