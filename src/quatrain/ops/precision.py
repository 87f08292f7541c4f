"""Internal precision: at least float32, whatever the type of the inputs and the autocast.

Source: Micikevicius et al. 2018, https://arxiv.org/abs/1710.03740, section 3.3 (sums and softmax
in float32).
"""

from contextlib import AbstractContextManager, nullcontext

import torch
from jaxtyping import Float
from torch import Tensor


def upcast(x: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """Convert half precision to float32; float32 and float64 stay."""
    return x if x.dtype in (torch.float32, torch.float64) else x.float()


def autocast_disabled(x: Tensor) -> AbstractContextManager[object]:
    """Disable autocast on the device of `x`; a no-op for meta tensors.

    A compiled graph may be called under an autocast later, so there it is always disabled.
    """
    kind = x.device.type
    if kind == "meta" or not (torch.compiler.is_compiling() or torch.is_autocast_enabled(kind)):
        return nullcontext()
    return torch.autocast(kind, enabled=False)
