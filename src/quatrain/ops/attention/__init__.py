"""Attention over given terms, support and grid, by the method that `plan` chooses."""

from jaxtyping import Float
from torch import Tensor

from quatrain.ops.attention import factored, fused, pooled, reference, separable
from quatrain.ops.attention.plan import ConcreteMethod, Method, Plan, plan, plan_for_operands
from quatrain.ops.positions import Grid
from quatrain.ops.support import Support
from quatrain.ops.terms import Operands
from quatrain.specs import Term

__all__ = ["ConcreteMethod", "Method", "Plan", "attend", "plan"]

_METHODS = {
    "reference": reference.attend,
    "pooled": pooled.attend,
    "separable": separable.attend,
    "factored": factored.attend,
    "fused": fused.attend,
}


def attend(
    terms: Term, operands: Operands, grid: Grid, support: Support, method: Method = "auto"
) -> Float[Tensor, "b h q e"]:
    """The weighted sum of values of each query, with zeros where its support is empty.

    Source: Zhu et al. 2019, https://arxiv.org/abs/1904.05873, equations 1, 2 and 8.
    """
    chosen = plan_for_operands(terms, operands, grid, support, method)
    return _METHODS[chosen.method](terms, operands, grid, support)
