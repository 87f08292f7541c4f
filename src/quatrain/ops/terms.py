"""The logits of the four terms.

    E1 = z'_q . x'_k      E2 = z'_q . r_{k-q}
    E3 = u    . x'_k      E4 = v    . r_{k-q}

Content terms share the key, position terms share the encoding, so the sum of any of them is
two dot products: (b1 z' + b3 u) . x'  +  (b2 z' + b4 v) . r.

Shapes: b batch, h heads, q queries, k keys, d width of a head, e width of a value, l offsets that
occur on an axis. An axis of size 1 is broadcast.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from quatrain.ops.positions import Grid, align_to_keys, expand_queries
from quatrain.specs import Term


@dataclass(frozen=True)
class Operands:
    """The projected tensors of an attention, split by head; None where no term needs one.

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
    def head_widths(self) -> tuple[int, int]:
        """Width of a key or encoding (of a value, if there is neither), and of a value."""
        width = self.value.shape[-1]
        widths = [x.shape[-1] for x in (self.key, *self.relative) if x is not None]
        return max(widths, default=width), width


def upcast_operands(operands: Operands) -> Operands:
    """The same operands in one type, at least float32: position logits need its precision."""
    single = (operands.query, operands.key, operands.key_bias, operands.position_bias)
    tensors = [x for x in (operands.value, *single, *operands.relative) if x is not None]
    dtype = torch.float32
    for x in tensors:
        dtype = torch.promote_types(dtype, x.dtype)
    if all(x.dtype == dtype for x in tensors):
        return operands
    query, key, key_bias, position_bias = (None if x is None else x.to(dtype) for x in single)
    return Operands(
        operands.value.to(dtype),
        query,
        key,
        key_bias,
        position_bias,
        tuple(axis.to(dtype) for axis in operands.relative),
        operands.scale,
    )


def head_groups(operands: Operands, heads: int) -> Iterator[Operands]:
    """Split the operands into groups of at most this many heads, as views."""

    def split(x: Tensor | None, axis: int) -> Sequence[Tensor | None]:
        groups = -(-operands.value.shape[1] // heads)
        return [None] * groups if x is None else x.split(heads, axis)

    groups = zip(
        operands.value.split(heads, 1),
        split(operands.query, 1),
        split(operands.key, 1),
        split(operands.key_bias, 0),
        split(operands.position_bias, 0),
        strict=True,
    )
    for number, group in enumerate(groups):
        own = slice(number * heads, (number + 1) * heads)
        yield Operands(*group, tuple(axis[own] for axis in operands.relative), operands.scale)


def biased_query(terms: Term, operands: Operands) -> Float[Tensor, "#b h #q d"] | None:
    """The query of key content, scale * (b1 z' + b3 u); None without content terms."""
    return _biased(
        operands.query if terms.has(Term.QUERY_KEY) else None,
        operands.key_bias if terms.has(Term.KEY) else None,
        operands.scale,
    )


def position_query(terms: Term, operands: Operands) -> Float[Tensor, "#b h #q d"] | None:
    """The query of relative position, scale * (b2 z' + b4 v); None without position terms."""
    return _biased(
        operands.query if terms.has(Term.QUERY_POSITION) else None,
        operands.position_bias if terms.has(Term.POSITION) else None,
        operands.scale,
    )


def key_logits(terms: Term, operands: Operands) -> Float[Tensor, "#b #h k"]:
    """E3 alone, which is the same for all queries; zeros where it is off."""
    keys = operands.value.shape[2]
    bias = _biased(None, operands.key_bias if terms.has(Term.KEY) else None, operands.scale)
    if bias is None:
        return operands.value.new_zeros(1, 1, keys)
    return torch.einsum("bhqd,bhkd->bhqk", bias, operands.key)[:, :, 0]


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
        total = total + _outer_sum(position_biases(position, operands.relative, grid))
    return total


def _outer_sum(biases: list[Float[Tensor, "b h q _"]]) -> Float[Tensor, "b h q k"]:
    if len(biases) == 1:
        return biases[0]
    rows, columns = biases
    return (rows[..., :, None] + columns[..., None, :]).flatten(-2)


def _biased(
    query: Float[Tensor, "b h q d"] | None, bias: Float[Tensor, "h d"] | None, scale: float
) -> Float[Tensor, "#b h #q d"] | None:
    if bias is None:
        return query if query is None or scale == 1.0 else query * scale
    scaled = (bias if scale == 1.0 else bias * scale)[:, None, :]
    return scaled[None] if query is None else torch.add(scaled, query, alpha=scale)
