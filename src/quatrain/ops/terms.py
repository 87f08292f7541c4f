"""The logits of the four terms.

    E1 = z'_q . x'_k      E2 = z'_q . r_{k-q}
    E3 = u    . x'_k      E4 = v    . r_{k-q}

Content terms share the key, position terms share the encoding, so the sum of any of them is
two dot products: (b1 z' + b3 u) . x'  +  (b2 z' + b4 v) . r.

Rotary positions and a norm of queries and keys change the operands of E1 alone. E3 then is one more
channel of the first product: [b1 z~, 1] . [x~, b3 u . x'].

E4 may be a number for each relative position instead of a product. By axis it is one more channel
of the second product: [b2 z', 1] . [r, table]. A number for rows and columns jointly is added.

Shapes: b batch, h heads, q queries, k keys, d width of a head, e width of a value, l relative
positions that occur on an axis. An axis of size 1 is broadcast.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, cast

import torch
from jaxtyping import Float
from torch import Tensor

from quatrain.ops.positions import (
    Grid,
    align_to_keys,
    expand_queries,
    is_symbolic,
    joint_bias,
)
from quatrain.ops.support import Support
from quatrain.specs import Term

_BY_HEAD = {"content_vector", "position_vector", "joint_table"}
"""Operands whose first axis is that of heads; in the others it is the second."""


@dataclass(frozen=True)
class Operands:
    """The projected tensors of an attention, split by head; None where no term needs one.

    `query` z', `key` x', `value`; the learned vectors `content_vector` u and `position_vector` v;
    `relative` are the projected encodings r of the relative positions that occur, one tensor per
    axis; `scale` multiplies every logit.

    Where the operands of E1 are others than z' and x', they are `paired_query` z~ and `paired_key`
    x~, `query` is that of E2 alone, and E3 is given by `key_logit`, the products u . x'.

    Where E4 is not v . r, it is the sum over axes of `table`, a number for each relative position
    that occurs, or on a map `joint_table`, a number for each pair of a relative row and column.
    `scale` does not multiply it.

    Source: Zhu et al. 2019, https://arxiv.org/abs/1904.05873, equation 2.
    """

    value: Float[Tensor, "b h k e"]
    query: Float[Tensor, "b h q d"] | None = None
    key: Float[Tensor, "b h k d"] | None = None
    content_vector: Float[Tensor, "h d"] | None = None
    position_vector: Float[Tensor, "h d"] | None = None
    relative: tuple[Float[Tensor, "h _ d"], ...] = ()
    scale: float = 1.0
    paired_query: Float[Tensor, "b h q d"] | None = None
    paired_key: Float[Tensor, "b h k d"] | None = None
    key_logit: Float[Tensor, "b h k"] | None = None
    table: tuple[Float[Tensor, "h _"], ...] = ()
    joint_table: Float[Tensor, "h rows columns"] | None = None

    @property
    def head_widths(self) -> tuple[int, int]:
        """Width of a key or encoding (of a value, if there is neither), and of a value."""
        width = self.value.shape[-1]
        keys = (self.key, self.paired_key, *self.relative)
        return max((x.shape[-1] for x in keys if x is not None), default=width), width

    @property
    def shares_keys(self) -> bool:
        """Whether E1 and E3 are products with the same keys."""
        return self.paired_key is None and self.key_logit is None

    @property
    def is_plain(self) -> bool:
        """Whether the logits are the two products of shared keys and of encodings alone."""
        by_table = len(self.table) > 0 or self.joint_table is not None
        return self.shares_keys and not by_table


def upcast_operands(operands: Operands) -> Operands:
    """The same operands in one type, at least float32: position logits need its precision."""
    single = {name: x for name, x in vars(operands).items() if isinstance(x, Tensor)}
    dtype = torch.float32
    for x in (*single.values(), *operands.relative, *operands.table):
        dtype = torch.promote_types(dtype, x.dtype)
    upcast: dict[str, Any] = {name: x.to(dtype) for name, x in single.items()}
    relative, table = (
        tuple(axis.to(dtype) for axis in axes) for axes in (operands.relative, operands.table)
    )
    return replace(operands, **upcast, relative=relative, table=table)


@dataclass(frozen=True)
class AttentionInputs:
    """The inputs of an attention: the terms, their operands, coordinates, and allowed keys."""

    terms: Term
    operands: Operands
    grid: Grid
    support: Support

    @property
    def value(self) -> Float[Tensor, "b h k e"]:
        """The values."""
        return self.operands.value

    @property
    def has_beam(self) -> bool:
        """Whether several queries share the one coordinate of a sequence, as those of a beam do."""
        if is_symbolic(*self.grid.queries) or self.grid.queries != (1,):
            return False
        queries = (self.operands.query, self.operands.paired_query)
        return any(x is not None and x.shape[2] > 1 for x in queries)

    def upcast(self) -> "AttentionInputs":
        """The same inputs with the operands in one type, at least float32."""
        return replace(self, operands=upcast_operands(self.operands))

    def head_groups(self, heads: int) -> Iterator["AttentionInputs"]:
        """Split the operands into groups of at most this many heads, as views."""
        x = self.operands
        single = {name: y for name, y in vars(x).items() if isinstance(y, Tensor)}
        for first in range(0, self.value.shape[1], heads):
            group = slice(first, first + heads)
            views: dict[str, Any] = {
                name: y[group] if name in _BY_HEAD else y[:, group] for name, y in single.items()
            }
            relative, table = (
                tuple(axis[group] for axis in axes) for axes in (x.relative, x.table)
            )
            yield replace(self, operands=replace(x, **views, relative=relative, table=table))


def content_operands(
    terms: Term, operands: Operands
) -> tuple[Float[Tensor, "#b #h #q w"], Float[Tensor, "b h k w"]] | None:
    """Queries, scaled, and keys whose products are the content logits; None if there are no such.

    E3 without E1 and without shared keys needs no product: it is `key_logits`.
    """
    if operands.shares_keys:
        query = biased_query(terms, operands)
        return None if query is None or operands.key is None else (query, operands.key)
    if not terms.has(Term.QUERY_KEY):
        return None
    query, key = paired_operands(operands)
    if terms.has(Term.KEY):
        query = torch.cat((query, torch.ones_like(query[..., :1])), dim=-1)
        key = torch.cat((key, key_logits(terms, operands)[..., None].to(key.dtype)), dim=-1)
    return query, key


def paired_operands(
    operands: Operands,
) -> tuple[Float[Tensor, "b h q d"], Float[Tensor, "b h k d"]]:
    """The queries, scaled, and keys of E1 alone."""
    query, key = operands.paired_query, operands.paired_key
    if query is None or key is None:
        query, key = cast(Tensor, operands.query), cast(Tensor, operands.key)
    return query if operands.scale == 1.0 else query * operands.scale, key


def biased_query(terms: Term, operands: Operands) -> Float[Tensor, "#b h #q d"] | None:
    """The query of shared keys, scale * (b1 z' + b3 u); None without content terms."""
    query = operands.query if terms.has(Term.QUERY_KEY) else None
    vector = operands.content_vector if terms.has(Term.KEY) else None
    return _biased(query, vector, operands.scale)


def position_operands(
    terms: Term, operands: Operands
) -> tuple[Float[Tensor, "#b h #q w"], tuple[Float[Tensor, "h _ w"], ...]] | None:
    """Queries, scaled, and encodings per axis whose products are position logits; None without any.

    A table is one more channel, which a 1 in the queries selects. A joint table is not part of it.
    """
    query = position_query(terms, operands)
    if len(operands.table) == 0 or not terms.has(Term.POSITION):
        return None if query is None else (query, operands.relative)
    tables = tuple(table[..., None] for table in operands.table)
    if query is None:
        return torch.ones_like(tables[0][None, :, :1]), tables
    query = torch.cat((query, torch.ones_like(query[..., :1])), dim=-1)
    axes = zip(operands.relative, tables, strict=True)
    return query, tuple(torch.cat((r, table), dim=-1) for r, table in axes)


def position_query(terms: Term, operands: Operands) -> Float[Tensor, "#b h #q d"] | None:
    """The query of relative position, scale * (b2 z' + b4 v); None without position terms."""
    query = operands.query if terms.has(Term.QUERY_POSITION) else None
    vector = operands.position_vector if terms.has(Term.POSITION) else None
    return _biased(query, vector, operands.scale)


def key_logits(terms: Term, operands: Operands) -> Float[Tensor, "#b #h k"]:
    """E3 alone, which is the same for all queries; zeros where it is off."""
    if not terms.has(Term.KEY):
        return operands.value.new_zeros(1, 1, operands.value.shape[2])
    if operands.key_logit is not None:
        return operands.key_logit * operands.scale
    query = _biased(None, operands.content_vector, operands.scale)
    return torch.einsum("bhqd,bhkd->bhqk", query, operands.key)[:, :, 0]


def position_biases(
    query: Float[Tensor, "#b h #q d"], relative: tuple[Float[Tensor, "h _ d"], ...], grid: Grid
) -> list[Float[Tensor, "#b h q _"]]:
    """Position logits per axis, by query and key coordinate: [row_bias, column_bias] on a map."""
    biases = []
    for axis, encoding in enumerate(relative):
        scores = torch.einsum("bhqd,hld->bhql", query, encoding)
        biases.append(align_to_keys(expand_queries(scores, grid), grid, axis))
    return biases


def logits(terms: Term, operands: Operands, grid: Grid) -> Float[Tensor, "#b #h #q #k"]:
    """The sum of the logits of `terms`, with size 1 on axes that it does not depend on.

    Source: Zhu et al. 2019, https://arxiv.org/abs/1904.05873, equation 8.
    """
    content, position = content_operands(terms, operands), position_operands(terms, operands)
    if content is None:
        no_content = operands.value.new_zeros(1, 1, 1, 1)
        total = key_logits(terms, operands)[:, :, None] if terms.has(Term.KEY) else no_content
    else:
        query, key = content
        total = query @ key.mT
    if position is not None:
        bias, *columns = position_biases(*position, grid)
        if columns:
            bias = (bias[..., :, None] + columns[0][..., None, :]).flatten(-2)
        total = total + bias
    if operands.joint_table is not None and terms.has(Term.POSITION):
        total = total + joint_bias(operands.joint_table, grid)
    return total


def _biased(
    query: Float[Tensor, "b h q d"] | None, vector: Float[Tensor, "h d"] | None, scale: float
) -> Float[Tensor, "#b h #q d"] | None:
    if vector is None:
        return query if query is None or scale == 1.0 else query * scale
    scaled = (vector if scale == 1.0 else vector * scale)[:, None, :]
    return scaled[None] if query is None else torch.add(scaled, query, alpha=scale)
