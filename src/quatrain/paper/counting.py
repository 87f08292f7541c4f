"""The paper's counting convention for multiply-adds, applied to our modules.

The convention is recovered from the published costs: the operations of a plain implementation with
separable position logits on maps, without the terms that do not depend on the query. What our
methods execute is counted by `quatrain.cost`.
"""

import math

from torch import nn

from quatrain.nn.attended import Attended
from quatrain.nn.convolution import RegularConv
from quatrain.nn.deformable_conv import DeformableConv
from quatrain.nn.dynamic_conv import DynamicConv
from quatrain.nn.generalized_attention import GeneralizedAttention
from quatrain.ops import counts
from quatrain.specs import Term

Sizes = tuple[int, ...]


def count_mixer(module: nn.Module, sizes: Sizes) -> int:
    """Multiply-adds of a mixer for one image or sentence; sizes are (T,) or (H, W).

    A deformable convolution counts as the regular one: the branch that predicts its offsets and
    the interpolation are left out.

    Source: Zhu et al. 2019, https://arxiv.org/abs/1904.05873, table 1 and equations 3 to 7.
    """
    positions = math.prod(sizes)
    match module:
        case GeneralizedAttention():
            return count_attention(module, sizes, sizes)
        case RegularConv() | DeformableConv():
            taps, width = module.spec.kernel**module.ndim, module.weight.shape[1]
            return counts.convolution(positions, taps, width, module.channels)
        case DynamicConv():
            taps = module.spec.kernel**module.ndim
            convolution = counts.convolution(positions, taps, 1, module.channels)
            return count_linears(module, positions) + convolution
        case Attended():
            return count_mixer(module.convolution, sizes) + count_mixer(module.attention, sizes)
        case _:
            raise TypeError(f"the paper does not count {type(module).__name__}")


def count_attention(module: GeneralizedAttention, queries: Sizes, keys: Sizes) -> int:
    """Multiply-adds of attention for one image or sentence; sizes are (T,) or (H, W).

    Source: Zhu et al. 2019, https://arxiv.org/abs/1904.05873, table 1, figure 3, tables 2 and 3:
        the paper states orders of growth; the constants are those that reproduce its numbers.
    Differs: widths are those of our layers; the convention counts a full projection of the
        offsets for each axis of a map, where ours projects half of the channels for each.
    """
    terms, window = module.spec.terms, module.spec.window
    query_count, key_count = math.prod(queries), math.prod(keys)
    total = count_linears(module.output, query_count) + count_linears(module.value, key_count)
    if module.query is not None:
        total += count_linears(module.query, query_count)
    if module.key is not None:
        total += count_linears(module.key, key_count)
    for axis, layer in enumerate(module.position or ()):
        offsets = queries[axis] + keys[axis] - 1 if window is None else window
        total += module.ndim * count_linears(layer, offsets)
    if terms == Term.KEY or not terms:  # all queries share one row of logits and one mean
        return total + key_count * module.channels * (1 + bool(terms))
    keys_per_query = key_count if window is None else window**module.ndim
    products = 0  # of one query, with keys or with coordinates of keys
    if terms.has(Term.QUERY_KEY):
        products = keys_per_query
    elif terms.has(Term.QUERY_POSITION):
        products = sum(keys) if window is None else window * module.ndim
    return total + query_count * module.channels * (products + keys_per_query)


def count_linears(module: nn.Module, rows: int) -> int:
    """Multiply-adds of all linear layers in a module, each applied to `rows` vectors."""
    layers = (part for part in module.modules() if isinstance(part, nn.Linear))
    return sum(counts.linear(rows, layer.in_features, layer.out_features) for layer in layers)
