"""Attention as the paper writes it: one number at a time, in plain Python loops.

Slow on purpose: it shares only the containers of arguments with the library, so that agreement
means something. Autograd runs through the loops.

Source: Zhu et al. 2019, https://arxiv.org/abs/1904.05873, equations 1, 2 and 8.
"""

import itertools
import math

import torch

from quatrain.specs import Term


def attend(inputs):
    """y_q of every batch element, head and query: (b, h, q, e)."""
    terms, operands, grid, support = inputs.terms, inputs.operands, inputs.grid, inputs.support
    batch, heads, _, width = operands.value.shape
    queries, keys = _coordinates(grid.queries), _coordinates(grid.keys)
    rows = []
    for b, m, q in itertools.product(range(batch), range(heads), range(len(queries))):
        region = [k for k in range(len(keys)) if allowed(support, grid, b, m, q, k)]
        scores = [logit(terms, operands, grid, b, m, q, k) for k in region]
        values = [operands.value[b, m, k] for k in region]
        if support.null_key:
            scores.append(torch.zeros((), dtype=torch.float64))
            values.append(torch.zeros(width, dtype=torch.float64, requires_grad=True))
        rows.append(_weighted_mean(scores, values, width))
    return torch.stack(rows).reshape(batch, heads, len(queries), width)


def logit(terms, operands, grid, b, m, q, k):
    """(E1 + E2 + E3 + E4) of one query and key, those that are on."""
    total = torch.zeros((), dtype=torch.float64)
    if Term.QUERY_KEY in terms:
        paired = operands.paired_query is not None
        query = operands.paired_query if paired else operands.query
        total = total + _dot(
            query[b, m, q], (operands.paired_key if paired else operands.key)[b, m, k]
        )
    if Term.QUERY_POSITION in terms:
        total = total + _dot(operands.query[b, m, q], _encoding(operands, grid, m, q, k))
    if Term.KEY in terms and operands.key_logit is not None:
        total = total + operands.key_logit[b, m, k]
    elif Term.KEY in terms:
        total = total + _dot(operands.content_vector[m], operands.key[b, m, k])
    by_table = operands.table or operands.joint_table is not None
    if Term.POSITION in terms and not by_table:
        total = total + _dot(operands.position_vector[m], _encoding(operands, grid, m, q, k))
    total = total * operands.scale
    if Term.POSITION in terms and by_table:
        total = total + _table(operands, grid, m, q, k)
    return total


def relative_position(grid, q, k):
    """The relative position of key number k to query number q, per axis."""
    query, key = _coordinates(grid.queries)[q], _coordinates(grid.keys)[k]
    return tuple(
        key_at * grid.key_stride - (query_at + grid.first_query)
        for query_at, key_at in zip(query, key, strict=True)
    )


def sinusoid(position, channels, wavelength):
    """The encoding of one relative position: sines, then cosines, of growing wavelengths."""
    half = channels // 2
    angles = [position / wavelength ** (i / half) for i in range(half)]
    return [math.sin(angle) for angle in angles] + [math.cos(angle) for angle in angles]


def _encoding(operands, grid, m, q, k):
    """r_{k-q}: the projected encodings of the axes, summed."""
    return _sum_over_axes(operands.relative, grid, m, q, k)


def _table(operands, grid, m, q, k):
    """E4 as a number: the sum over axes, or the one of all axes together."""
    if operands.joint_table is None:
        return _sum_over_axes(operands.table, grid, m, q, k)
    return operands.joint_table[m][_relative_index(grid, q, k)]


def _sum_over_axes(by_axis, grid, m, q, k):
    index = enumerate(_relative_index(grid, q, k))
    return sum(by_axis[axis][m, position] for axis, position in index)


def _relative_index(grid, q, k):
    """The relative position per axis, counted from the first that occurs."""
    return tuple(
        position + size - 1 + grid.first_query
        for position, size in zip(relative_position(grid, q, k), grid.queries, strict=True)
    )


def allowed(support, grid, b, m, q, k):
    """Whether query q may attend to key k."""
    distances = relative_position(grid, q, k)
    if support.causal and distances[0] > 0:
        return False
    if support.window is not None and support.causal and distances[0] <= -support.window:
        return False
    if support.window is not None and not support.causal:
        reach = (support.window - 1) // 2
        if any(abs(distance) > reach for distance in distances):
            return False
    if support.key_padding_mask is not None and support.key_padding_mask[b, k]:
        return False
    mask = support.attend_mask
    if mask is None:
        return True
    by_rank = {2: lambda: mask[q, k], 3: lambda: mask[b, q, k], 4: lambda: mask[b, m, q, k]}
    return bool(by_rank[mask.ndim]())


def _weighted_mean(scores, values, width):
    if not scores:
        return torch.zeros(width, dtype=torch.float64, requires_grad=True)
    highest = max(score.item() for score in scores)
    weights = [torch.exp(score - highest) for score in scores]
    total = sum(weights)
    return sum(weight / total * value for weight, value in zip(weights, values, strict=True))


def _coordinates(sizes):
    return list(itertools.product(*(range(size) for size in sizes)))


def _dot(left, right):
    return (left * right).sum()
