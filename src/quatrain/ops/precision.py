"""The precision of work inside: float32 at least, whatever the inputs' type and the autocast.

Source: Micikevicius et al. 2018, https://arxiv.org/abs/1710.03740, section 3.3 (sums and softmax
in float32).
"""

from contextlib import AbstractContextManager, nullcontext

import torch
from jaxtyping import Float
from torch import Tensor


def exact(x: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """The same numbers in float32, or in float64 if they have it."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


def full_precision(x: Tensor) -> AbstractContextManager[object]:
    """No autocast within; tensors without numbers have none to begin with."""
    kind = x.device.type
    return nullcontext() if kind == "meta" else torch.autocast(kind, enabled=False)
