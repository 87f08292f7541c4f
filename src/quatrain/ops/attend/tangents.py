"""Derivatives in forward mode, which operators of our own do not have.

torch would not say so: such an operator leaves the tangents of its inputs behind.

Source: Baydin et al. 2018, https://arxiv.org/abs/1502.05767, section 3.1, for the mode.
"""

import torch
from torch import Tensor
from torch.autograd import forward_ad

from quatrain.specs import InputError


def refuse_tangents(*inputs: Tensor | None) -> None:
    """Refuse to go on where `torch.func.jvp` or `forward_ad` asks for derivatives.

    Raises:
        InputError: if an input has a tangent.
    """
    if torch.compiler.is_compiling():
        return
    for each in inputs:
        if each is not None and forward_ad.unpack_dual(each).tangent is not None:
            raise InputError(
                "an input of attention",
                "a dual tensor",
                "none, since this method has gradients in reverse mode only",
                'use method="reference" for torch.func.jvp',
            )
