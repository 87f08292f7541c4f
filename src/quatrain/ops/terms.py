"""The logits of the four terms.

    E1 = z'_q . x'_k      E2 = z'_q . r_{k-q}
    E3 = u    . x'_k      E4 = v    . r_{k-q}

Content terms share the key, position terms share the encoding, so the sum of any of them is
two dot products: (b1 z' + b3 u) . x'  +  (b2 z' + b4 v) . r.

Shapes: b batch, h heads, q queries, k keys, d width of a head, e width of a value, l relative
positions that occur on an axis. An axis of size 1 is broadcast.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

from quatrain.ops.positions import Grid, align_to_keys, expand_queries
from quatrain.ops.support import Support
from quatrain.specs import Term


@dataclass(frozen=True)
class Operands:
    """The projected tensors of an attention, split by head; None where no term needs one.

    `query` z', `key` x', `value`; the learned vectors `content_vector` u and `position_vector` v;
    `relative` are the projected encodings r of the relative positions that occur, one tensor per
    axis; `scale` multiplies every logit.

    Source: Zhu et al. 2019, https://arxiv.org/abs/1904.05873, equation 2.
    """

    value: Float[Tensor, "b h k e"]
    query: Float[Tensor, "b h q d"] | None = None
    key: Float[Tensor, "b h k d"] | None = None
    content_vector: Float[Tensor, "h d"] | None = None
    position_vector: Float[Tensor, "h d"] | None = None
    relative: tuple[Float[Tensor, "h _ d"], ...] = ()
    scale: float = 1.0

    @property
    def head_widths(self) -> tuple[int, int]:
        """Width of a key or encoding (of a value, if there is neither), and of a value."""
        width = self.value.shape[-1]
        widths = [x.shape[-1] for x in (self.key, *self.relative) if x is not None]
        return max(widths, default=width), width


def upcast_operands(operands: Operands) -> Operands:
    """The same operands in one type, at least float32: position logits need its precision."""
    vectors = (operands.content_vector, operands.position_vector)
    single = (operands.query, operands.key, *vectors)
    dtype = torch.promote_types(operands.value.dtype, torch.float32)
    for x in (*single, *operands.relative):
        dtype = dtype if x is None else torch.promote_types(dtype, x.dtype)
    query, key, content, position = (None if x is None else x.to(dtype) for x in single)
    relative = tuple(axis.to(dtype) for axis in operands.relative)
    value = operands.value.to(dtype)
    return Operands(value, query, key, content, position, relative, operands.scale)


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

    def upcast(self) -> "AttentionInputs":
        """The same inputs with the operands in one type, at least float32."""
        return replace(self, operands=upcast_operands(self.operands))

    def head_groups(self, heads: int) -> Iterator["AttentionInputs"]:
        """Split the operands into groups of at most this many heads, as views."""
        x = self.operands

        def split(x: Tensor | None, axis: int) -> Sequence[Tensor | None]:
            groups = -(-self.value.shape[1] // heads)
            return [None] * groups if x is None else x.split(heads, axis)

        groups = zip(
            x.value.split(heads, 1),
            split(x.query, 1),
            split(x.key, 1),
            split(x.content_vector, 0),
            split(x.position_vector, 0),
            strict=True,
        )
        for number, group in enumerate(groups):
            group_heads = slice(number * heads, (number + 1) * heads)
            relative = tuple(axis[group_heads] for axis in x.relative)
            yield replace(self, operands=Operands(*group, relative, x.scale))


def biased_query(terms: Term, operands: Operands) -> Float[Tensor, "#b h #q d"] | None:
    """The query of key content, scale * (b1 z' + b3 u); None without content terms."""
    query = operands.query if terms.has(Term.QUERY_KEY) else None
    vector = operands.content_vector if terms.has(Term.KEY) else None
    return _biased(query, vector, operands.scale)


def position_query(terms: Term, operands: Operands) -> Float[Tensor, "#b h #q d"] | None:
    """The query of relative position, scale * (b2 z' + b4 v); None without position terms."""
    query = operands.query if terms.has(Term.QUERY_POSITION) else None
    vector = operands.position_vector if terms.has(Term.POSITION) else None
    return _biased(query, vector, operands.scale)


def key_logits(terms: Term, operands: Operands) -> Float[Tensor, "#b #h k"]:
    """E3 alone, which is the same for all queries; zeros where it is off."""
    keys = operands.value.shape[2]
    vector = operands.content_vector if terms.has(Term.KEY) else None
    query = _biased(None, vector, operands.scale)
    if query is None:
        return operands.value.new_zeros(1, 1, keys)
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
    query, position = biased_query(terms, operands), position_query(terms, operands)
    if query is None or operands.key is None:
        total = operands.value.new_zeros(1, 1, 1, 1)
    else:
        total = query @ operands.key.mT
    if position is not None:
        bias, *columns = position_biases(position, operands.relative, grid)
        if columns:
            bias = (bias[..., :, None] + columns[0][..., None, :]).flatten(-2)
        total = total + bias
    return total


def _biased(
    query: Float[Tensor, "b h q d"] | None, vector: Float[Tensor, "h d"] | None, scale: float
) -> Float[Tensor, "#b h #q d"] | None:
    if vector is None:
        return query if query is None or scale == 1.0 else query * scale
    scaled = (vector if scale == 1.0 else vector * scale)[:, None, :]
    return scaled[None] if query is None else torch.add(scaled, query, alpha=scale)
