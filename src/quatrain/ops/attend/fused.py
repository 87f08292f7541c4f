"""Content terms through the fused scaled-dot-product kernel, which never holds the logits.

It serves the term sets that need the query's content and no position: E3 is E1 with the bias
u added to the query, (z' + u) . x'.
"""

from typing import cast

from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from quatrain.ops.positions import Grid
from quatrain.ops.support import Support
from quatrain.ops.terms import Operands, content_asks
from quatrain.specs import Term


def attend(
    terms: Term, operands: Operands, grid: Grid, support: Support
) -> Float[Tensor, "b h q e"]:
    """The weighted sum of values of each query, for terms 1000 and 1010.

    Source: Zhu et al. 2019, https://arxiv.org/abs/1904.05873, equation 2; Dao et al. 2022,
        https://arxiv.org/abs/2205.14135.
    """
    asks = cast(Tensor, content_asks(terms, operands))  # plan chose it: E1 is on
    key = cast(Tensor, operands.key)
    dtype = operands.value.dtype
    return scaled_dot_product_attention(
        asks.to(dtype),
        key.to(dtype),
        operands.value,
        attn_mask=support.mask(grid, operands.value),
        scale=1.0,
    )
