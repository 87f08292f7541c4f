"""The paper's way of counting multiply-adds, applied to our modules.

It is one convention among others, recovered from the paper's published costs: what a plain
implementation would execute, with separable position logits on maps, and with whatever does not
depend on the query left out. What our methods really execute is counted in `quatrain.cost`.
"""

import math

from torch import nn

from quatrain.nn.attended import Attended
from quatrain.nn.deformable_conv import DeformableConv
from quatrain.nn.dynamic_conv import DynamicConv
from quatrain.nn.generalized_attention import GeneralizedAttention
from quatrain.nn.regular_conv import RegularConv
from quatrain.ops import counts
from quatrain.specs import Term

Sizes = tuple[int, ...]


def mixer(module: nn.Module, sizes: Sizes) -> int:
    """A mixer within one image or sentence; sizes are (T,) or (H, W).

    A deformable convolution counts as the regular one: the branch that predicts its offsets and
    the interpolation are left out.

    Source: Zhu et al. 2019, https://arxiv.org/abs/1904.05873, table 1 and equations 3 to 7.

    Raises:
        TypeError: if the paper counts no such module.
    """
    positions = math.prod(sizes)
    match module:
        case GeneralizedAttention():
            return attention(module, sizes, sizes)
        case RegularConv() | DeformableConv():
            taps, width = module.spec.kernel**module.ndim, module.weight.shape[1]
            return counts.convolution(positions, taps, width, module.channels)
        case DynamicConv():
            taps = module.spec.kernel**module.ndim
            mixed = counts.convolution(positions, taps, 1, module.channels)
            return linears_multiply_adds(module, positions) + mixed
        case Attended():
            return mixer(module.convolution, sizes) + mixer(module.attention, sizes)
        case _:
            raise TypeError(f"the paper has no {type(module).__name__}")


def attention(module: GeneralizedAttention, queries: Sizes, keys: Sizes) -> int:
    """An attention module for one image or sentence; sizes are (T,) or (H, W).

    Source: Zhu et al. 2019, https://arxiv.org/abs/1904.05873, table 1, figure 3, tables 2 and 3:
        the paper states orders of growth; the constants are those that give its numbers.
    Differs: widths are those of our layers; the convention charges a full projection of the
        offsets of each axis of a map, where ours projects half of the channels for each.
    """
    terms = module.spec.terms
    asked, answering = math.prod(queries), math.prod(keys)
    total = linears_multiply_adds(module.output, asked) + linears_multiply_adds(
        module.value, answering
    )
    if module.query is not None:
        total += linears_multiply_adds(module.query, asked)
    if module.key is not None:
        total += linears_multiply_adds(module.key, answering)
    for axis, layer in enumerate(module.position or ()):
        total += module.ndim * linears_multiply_adds(layer, _offsets(module, queries, keys, axis))
    if terms == Term.KEY or not terms:  # one row of logits and one mean, for all queries
        return total + answering * module.channels * (1 + bool(terms))
    return total + asked * module.channels * (_logits(module, keys) + _region(module, keys))


def linears_multiply_adds(module: nn.Module, rows: int) -> int:
    """All linear layers in a module, each applied to `rows` vectors."""
    layers = (part for part in module.modules() if isinstance(part, nn.Linear))
    return sum(counts.linear(rows, layer.in_features, layer.out_features) for layer in layers)


def _offsets(module: GeneralizedAttention, queries: Sizes, keys: Sizes, axis: int) -> int:
    window = module.spec.window
    return queries[axis] + keys[axis] - 1 if window is None else window


def _region(module: GeneralizedAttention, keys: Sizes) -> int:
    """Keys that one query reaches."""
    window = module.spec.window
    return math.prod(keys) if window is None else window**module.ndim


def _logits(module: GeneralizedAttention, keys: Sizes) -> int:
    """Keys, or coordinates of keys, that one query is multiplied with."""
    if module.spec.terms.has(Term.QUERY_KEY):
        return _region(module, keys)
    if module.spec.terms.has(Term.QUERY_POSITION):
        return sum(keys) if module.spec.window is None else module.spec.window * module.ndim
    return 0
