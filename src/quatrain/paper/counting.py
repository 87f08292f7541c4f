"""The paper's way of counting multiply-adds, applied to our modules.

It is one convention among others, recovered from the paper's published costs: what a plain
implementation would execute, with separable position logits on maps, and with whatever does not
depend on the query left out. What our methods really execute is counted in `quatrain.cost`.
"""

import math

from torch import nn

from quatrain.nn.generalized_attention import GeneralizedAttention
from quatrain.ops import counts
from quatrain.specs import Term

Sizes = tuple[int, ...]


def attention(module: GeneralizedAttention, queries: Sizes, keys: Sizes) -> int:
    """An attention module for one image or sentence; sizes are (T,) or (H, W).

    Source: Zhu et al. 2019, https://arxiv.org/abs/1904.05873, table 1, figure 3, tables 2 and 3:
        the paper states orders of growth; the constants are those that give its numbers.
    Differs: widths are those of our layers; the convention charges a full projection of the
        offsets of each axis of a map, where ours projects half of the channels for each.
    """
    terms = module.spec.terms
    asked, answering = math.prod(queries), math.prod(keys)
    total = linears(module.output, asked) + linears(module.value, answering)
    if module.query is not None:
        total += linears(module.query, asked)
    if module.key is not None:
        total += linears(module.key, answering)
    for axis, layer in enumerate(module.position):
        total += module.ndim * linears(layer, _offsets(module, queries, keys, axis))
    if terms == Term.KEY or not terms:
        return total
    return total + asked * module.channels * (_logits(module, keys) + _region(module, keys))


def linears(module: nn.Module, rows: int) -> int:
    """All linear layers in `module` (or the one it is), each applied to `rows` vectors."""
    return sum(
        counts.linear(rows, part.in_features, part.out_features)
        for part in module.modules()
        if isinstance(part, nn.Linear)
    )


def _offsets(module: GeneralizedAttention, queries: Sizes, keys: Sizes, axis: int) -> int:
    window = module.spec.window
    return queries[axis] + keys[axis] - 1 if window is None else window


def _region(module: GeneralizedAttention, keys: Sizes) -> int:
    """Keys that one query reaches."""
    window = module.spec.window
    return math.prod(keys) if window is None else window**module.ndim


def _logits(module: GeneralizedAttention, keys: Sizes) -> int:
    """Keys, or coordinates of keys, that one query is multiplied with."""
    if Term.QUERY_KEY in module.spec.terms:
        return _region(module, keys)
    if Term.QUERY_POSITION in module.spec.terms:
        return sum(keys) if module.spec.window is None else module.spec.window * module.ndim
    return 0
