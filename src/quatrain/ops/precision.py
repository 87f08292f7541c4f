"""The precision of work inside: float32 at least, whatever the inputs' type and the autocast.

Source: Micikevicius et al. 2018, https://arxiv.org/abs/1710.03740, section 3.3 (sums and softmax
in float32).
"""

from contextlib import AbstractContextManager, nullcontext

import torch
from jaxtyping import Float
from torch import Tensor


def upcast(x: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """The same numbers in float32, or in float64 if they have it."""
    return x if x.dtype in (torch.float32, torch.float64) else x.float()


def autocast_disabled(x: Tensor) -> AbstractContextManager[object]:
    """No autocast within; tensors without numbers have none to begin with.

    Where there is none now, a compiled graph may still be called under one.
    """
    kind = x.device.type
    if kind == "meta" or not (torch.compiler.is_compiling() or torch.is_autocast_enabled(kind)):
        return nullcontext()
    return torch.autocast(kind, enabled=False)
