"""Attention on a map whose weights, for one query, are a product over rows, columns and keys.

It serves 0100, 0101, 0110 and 0111: no query meets key content, so the weights of a query are the
softmax of its row table times the softmax of its column table, times what E3 gives each key, over
their sum. Nothing is exponentiated for a pair, and no weight is held (`contracted`).
"""

from jaxtyping import Float
from torch import Tensor

from quatrain.ops.attention.blockwise.operator import blockwise_attention
from quatrain.ops.positions import Grid
from quatrain.ops.support import Support
from quatrain.ops.terms import Operands
from quatrain.specs import Term


def attend(
    terms: Term, operands: Operands, grid: Grid, support: Support
) -> Float[Tensor, "b h q e"]:
    """The weighted sum of values of each query; zeros where its support is empty.

    Source: Zhu et al. 2019, https://arxiv.org/abs/1904.05873, equation 2, on a map.
    """
    return blockwise_attention(terms, operands, grid, support, product=True)
