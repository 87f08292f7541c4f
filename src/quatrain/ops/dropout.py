"""Dropout whose random bits are cheap on a CPU.

torch draws one uniform number per element there, which was over a quarter of a small
Transformer's training step. Four elements share one 64-bit draw here, 16 bits each, so
the rate is exact to 1/65536.
"""

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import dropout as torch_dropout

_LEVELS = 65536


def dropout(x: Float[Tensor, "..."], rate: float, training: bool) -> Float[Tensor, "..."]:
    """Zero each element with probability `rate` and divide the others by 1 - `rate`.

    Source: Srivastava et al. 2014, https://jmlr.org/papers/v15/srivastava14a.html.
    Differs: on a CPU the rate is rounded to a multiple of 1/65536; other devices, and graphs
        that are being compiled or exported, use torch's own.
    """
    if not training or rate == 0.0:
        return x
    if x.device.type != "cpu" or torch.compiler.is_compiling():
        return torch_dropout(x, rate)
    return x * _factor(x, rate)


def _factor(x: Float[Tensor, "*shape"], rate: float) -> Float[Tensor, "*shape"]:
    """0 for what is dropped, and what the rest is multiplied by."""
    count = x.numel()
    bits = torch.empty((count + 3) // 4, dtype=torch.int64).random_(-(2**63), None)
    dropped = min(round(rate * _LEVELS), _LEVELS - 1)
    kept = bits.view(torch.int16)[:count].view(x.shape) >= dropped - _LEVELS // 2
    return kept.to(x.dtype).mul_(_LEVELS / (_LEVELS - dropped))
