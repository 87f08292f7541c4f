"""Attention for any term set, support and grid, by the method that `plan` chooses."""

import torch
from jaxtyping import Float
from torch import Tensor

from quatrain.ops.attention.blockwise.operator import blockwise_attention
from quatrain.ops.attention.fused import fused_attention
from quatrain.ops.attention.plan import ConcreteMethod, Method, Plan, plan
from quatrain.ops.attention.pooled import pooled_attention
from quatrain.ops.attention.reference import reference_attention
from quatrain.ops.attention.separable import separable_attention
from quatrain.ops.compilation import is_exported_to_onnx
from quatrain.ops.terms import AttentionInputs

__all__ = ["AttentionInputs", "ConcreteMethod", "Method", "Plan", "attend", "plan"]


def attend(inputs: AttentionInputs, method: Method = "auto") -> Float[Tensor, "b h q e"]:
    """The weighted sum of values of each query; zeros where its support is empty.

    Source: Zhu et al. 2019, https://arxiv.org/abs/1904.05873, equations 1, 2 and 8.
    """
    chosen = plan(
        inputs.terms,
        inputs.grid,
        inputs.support.structure,
        method,
        device=inputs.value.device.type,
        widths=inputs.operands.head_widths,
        double=inputs.value.dtype == torch.float64,
        portable=is_exported_to_onnx(),
        plain=inputs.operands.is_plain,
        joint_table=inputs.operands.joint_table is not None,
        beam=inputs.has_beam,
    )
    match chosen.method:
        case "reference":
            return reference_attention(inputs)
        case "pooled":
            return pooled_attention(inputs)
        case "separable":
            return separable_attention(inputs, chosen.kernel)
        case "factored":
            return blockwise_attention(inputs, factored=True)
        case "fused":
            return fused_attention(inputs, chosen.kernel)
