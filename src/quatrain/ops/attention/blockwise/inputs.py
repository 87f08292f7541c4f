"""What the logits and sums of attention by blocks are made of, whichever way a block goes.

Shapes: b batch, h heads, q queries, k keys, d e widths.
"""

import math
from dataclasses import dataclass, fields
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor


def excluded(dtype: torch.dtype) -> float:
    """The logit that stands for no weight: any sum of a few of them is still finite.

    It is a power of two, which types of fewer bits and the same range hold exactly.
    """
    _, exponent = math.frexp(torch.finfo(dtype).max)
    return -math.ldexp(1.0, exponent - 3)


def is_excluded(logits: Float[Tensor, "..."]) -> Bool[Tensor, "..."]:
    """Whether they stand for no weight, whatever was added to them."""
    return logits < excluded(logits.dtype) / 2


@dataclass(frozen=True)
class Factors:
    """What logits and output are made of, in float32 or float64; a size of 1 is for all.

    `asks` meet `key`, `position_query` meet `relative`; `key_logits` are added for each key, and
    are `excluded` at padding.

    Source: Zhu et al. 2019, https://arxiv.org/abs/1904.05873, equation 2.
    """

    value: Float[Tensor, "b h k e"]
    asks: Float[Tensor, "b h q d"] | None
    key: Float[Tensor, "b h k d"] | None
    key_logits: Float[Tensor, "#b #h k"] | None
    position_query: Float[Tensor, "#b h #q d"] | None
    attend_mask: Bool[Tensor, "#b #h #q k"] | None
    relative: tuple[Float[Tensor, "h _ d"], ...]

    def part(self, batch: slice, heads: slice) -> "Factors":
        """Those of some batch elements and heads, as views."""
        chosen: dict[str, Any] = {field.name: getattr(self, field.name) for field in fields(self)}
        relative = tuple(axis[heads] for axis in chosen.pop("relative"))
        views: dict[str, Any] = {n: _part_of(x, batch, heads) for n, x in chosen.items()}
        return Factors(**views, relative=relative)

    def zeros(self) -> "Factors":
        """Where gradients are summed; those of keys lie in memory as products make them."""

        def alike(x: Tensor | None) -> Tensor | None:
            return None if x is None else torch.zeros_like(x)

        def turned(x: Tensor | None) -> Tensor | None:
            return None if x is None else x.new_zeros(x.mT.shape).mT

        return Factors(
            value=self.value.new_zeros(self.value.mT.shape).mT,
            asks=alike(self.asks),
            key=turned(self.key),
            key_logits=alike(self.key_logits),
            position_query=alike(self.position_query),
            attend_mask=None,
            relative=tuple(torch.zeros_like(axis) for axis in self.relative),
        )


def _part_of(x: Tensor | None, batch: slice, heads: slice) -> Tensor | None:
    """The view of some batch elements and heads, where `x` differs between them."""
    if x is None:
        return None
    x = x if x.shape[0] == 1 else x[batch]
    return x if x.shape[1] == 1 else x[:, heads]


def add(total: Tensor, part: Tensor) -> None:
    """Add in place, summing over batch elements and heads where the total is one for all."""
    wanted = [
        1 if size == 1 else given
        for size, given in zip(total.shape[:2], part.shape[:2], strict=True)
    ]
    part = part.sum_to_size(*wanted, *part.shape[2:])
    total += part.reshape(total.shape)


def add_product(
    total: Float[Tensor, "bh m n"], left: Float[Tensor, "b h m j"], right: Float[Tensor, "b h j n"]
) -> None:
    """Add a matrix product in place, in one pass over the total."""
    torch.baddbmm(total, left.flatten(0, 1), right.flatten(0, 1), out=total)
