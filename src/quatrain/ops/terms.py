"""The logits of the four terms.

    E1 = z'_q . x'_k      E2 = z'_q . r_{k-q}
    E3 = u    . x'_k      E4 = v    . r_{k-q}

Content terms share the key, position terms share the encoding, so the sum of any of them is
two dot products: (b1 z' + b3 u) . x'  +  (b2 z' + b4 v) . r.

Shapes: b batch, h heads, q queries, k keys, d width of a head, l offsets that occur on an axis.
A size of 1 on b or q means: the same for every batch element or query.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from quatrain.ops.positions import Grid, align, expand_queries
from quatrain.specs import Term


@dataclass(frozen=True)
class Operands:
    """What the terms are made of, projected and split by head; what no term needs is None.

    `query` z', `key` x', `value`; `key_bias` u, `position_bias` v; `relative` holds the projected
    encodings r of the offsets that occur, one tensor per axis; `scale` multiplies every logit.

    Source: Zhu et al. 2019, https://arxiv.org/abs/1904.05873, equation 2.
    """

    value: Float[Tensor, "b h k e"]
    query: Float[Tensor, "b h q d"] | None = None
    key: Float[Tensor, "b h k d"] | None = None
    key_bias: Float[Tensor, "h d"] | None = None
    position_bias: Float[Tensor, "h d"] | None = None
    relative: tuple[Float[Tensor, "h _ d"], ...] = ()
    scale: float = 1.0

    @property
    def widths(self) -> tuple[int, int]:
        """Those of what a query is multiplied with, keys or encodings, and of a value of a head."""
        width = self.value.shape[-1]
        asked = [x.shape[-1] for x in (self.key, *self.relative) if x is not None]
        return max(asked, default=width), width


def upcast_operands(operands: Operands) -> Operands:
    """The same operands in one type, float32 at least: in half precision, tables are far off."""
    single = (operands.query, operands.key, operands.key_bias, operands.position_bias)
    given = [x for x in (operands.value, *single, *operands.relative) if x is not None]
    wanted = torch.float32
    for x in given:
        wanted = torch.promote_types(wanted, x.dtype)
    if all(x.dtype == wanted for x in given):
        return operands
    query, key, key_bias, position_bias = (None if x is None else x.to(wanted) for x in single)
    return Operands(
        operands.value.to(wanted),
        query,
        key,
        key_bias,
        position_bias,
        tuple(axis.to(wanted) for axis in operands.relative),
        operands.scale,
    )


def head_groups(operands: Operands, heads: int) -> Iterator[Operands]:
    """The operands of so many heads after the others, as views."""

    def split(x: Tensor | None, axis: int) -> Sequence[Tensor | None]:
        groups = -(-operands.value.shape[1] // heads)
        return [None] * groups if x is None else x.split(heads, axis)

    parts = zip(
        operands.value.split(heads, 1),
        split(operands.query, 1),
        split(operands.key, 1),
        split(operands.key_bias, 0),
        split(operands.position_bias, 0),
        strict=True,
    )
    for number, part in enumerate(parts):
        own = slice(number * heads, (number + 1) * heads)
        yield Operands(*part, tuple(axis[own] for axis in operands.relative), operands.scale)


def biased_query(terms: Term, operands: Operands) -> Float[Tensor, "#b h #q d"] | None:
    """What is asked of key content, b1 z' + b3 u; None where no content term is on."""
    return _asks(
        operands.query if terms.has(Term.QUERY_KEY) else None,
        operands.key_bias if terms.has(Term.KEY) else None,
        operands.scale,
    )


def position_query(terms: Term, operands: Operands) -> Float[Tensor, "#b h #q d"] | None:
    """What is asked of relative position, b2 z' + b4 v; None where no position term is on."""
    return _asks(
        operands.query if terms.has(Term.QUERY_POSITION) else None,
        operands.position_bias if terms.has(Term.POSITION) else None,
        operands.scale,
    )


def key_logits(terms: Term, operands: Operands) -> Float[Tensor, "#b #h k"]:
    """E3 alone, which no query changes; zeros where it is off."""
    keys = operands.value.shape[2]
    asks = _asks(None, operands.key_bias if terms.has(Term.KEY) else None, operands.scale)
    if asks is None:
        return operands.value.new_zeros(1, 1, keys)
    return torch.einsum("bhqd,bhkd->bhqk", asks, operands.key)[:, :, 0]


def position_biases(
    asks: Float[Tensor, "#b h #q d"], relative: tuple[Float[Tensor, "h _ d"], ...], grid: Grid
) -> list[Float[Tensor, "#b h q _"]]:
    """Position logits of each axis by query and key coordinate: bx[q, kx] (and by[q, ky])."""
    tables = []
    for axis, encoded in enumerate(relative):
        scores = torch.einsum("bhqd,hld->bhql", asks, encoded)
        tables.append(align(expand_queries(scores, grid), grid, axis))
    return tables


def logits(terms: Term, operands: Operands, grid: Grid) -> Float[Tensor, "#b #h #q #k"]:
    """The sum of the logits of `terms`, with size 1 on the axes it does not depend on.

    Source: Zhu et al. 2019, https://arxiv.org/abs/1904.05873, equation 8.
    """
    asks, places = biased_query(terms, operands), position_query(terms, operands)
    if asks is None or operands.key is None:
        total = operands.value.new_zeros(1, 1, 1, 1)
    else:
        total = asks @ operands.key.mT
    if places is not None:
        total = total + _outer_sum(position_biases(places, operands.relative, grid))
    return total


def _outer_sum(tables: list[Float[Tensor, "b h q _"]]) -> Float[Tensor, "b h q k"]:
    if len(tables) == 1:
        return tables[0]
    rows, columns = tables
    return (rows[..., :, None] + columns[..., None, :]).flatten(-2)


def _asks(
    query: Float[Tensor, "b h q d"] | None, bias: Float[Tensor, "h d"] | None, scale: float
) -> Float[Tensor, "#b h #q d"] | None:
    if bias is None:
        return query if query is None or scale == 1.0 else query * scale
    scaled = (bias if scale == 1.0 else bias * scale)[:, None, :]
    return scaled[None] if query is None else torch.add(scaled, query, alpha=scale)
