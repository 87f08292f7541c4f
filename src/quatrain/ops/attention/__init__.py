"""Attention for any term set, support and grid, by the method that `plan` chooses."""

from jaxtyping import Float
from torch import Tensor

from quatrain.ops.attention.blockwise.operator import factored_attention
from quatrain.ops.attention.fused import fused_attention
from quatrain.ops.attention.plan import ConcreteMethod, Method, Plan, plan, plan_for_operands
from quatrain.ops.attention.pooled import pooled_attention
from quatrain.ops.attention.reference import reference_attention
from quatrain.ops.attention.separable import separable_attention
from quatrain.ops.positions import Grid
from quatrain.ops.support import Support
from quatrain.ops.terms import Operands
from quatrain.specs import Term

__all__ = ["ConcreteMethod", "Method", "Plan", "attend", "plan"]


def attend(
    terms: Term, operands: Operands, grid: Grid, support: Support, method: Method = "auto"
) -> Float[Tensor, "b h q e"]:
    """The weighted sum of values of each query; zeros where its support is empty.

    Source: Zhu et al. 2019, https://arxiv.org/abs/1904.05873, equations 1, 2 and 8.
    """
    chosen = plan_for_operands(terms, operands, grid, support, method)
    match chosen.method:
        case "reference":
            return reference_attention(terms, operands, grid, support)
        case "pooled":
            return pooled_attention(terms, operands, grid, support)
        case "separable":
            return separable_attention(terms, operands, grid, support, chosen.kernel)
        case "factored":
            return factored_attention(terms, operands, grid, support)
        case "fused":
            return fused_attention(terms, operands, grid, support, chosen.kernel)
