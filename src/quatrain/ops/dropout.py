"""Dropout with cheap random bits on a CPU.

torch draws one uniform number per element there, which was over a quarter of a small
Transformer's training step. Here four elements share one 64-bit draw, 16 bits each, so
probabilities are exact to 1/65536.
"""

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import dropout as torch_dropout

_LEVELS = 65536


def dropout(x: Float[Tensor, "..."], p: float, training: bool) -> Float[Tensor, "..."]:
    """Zero each element with probability `p` and divide the others by 1 - `p`.

    Source: Srivastava et al. 2014, https://jmlr.org/papers/v15/srivastava14a.html.
    Differs: on a CPU `p` is rounded to a multiple of 1/65536; other devices, and graphs that are
        being compiled or exported, use torch's own dropout.
    """
    if not training or p == 0.0:
        return x
    if x.device.type != "cpu" or torch.compiler.is_compiling():
        return torch_dropout(x, p)
    return x * _factor(x, p)


def _factor(x: Float[Tensor, "*shape"], p: float) -> Float[Tensor, "*shape"]:
    """Random factors: 0 for dropped elements, 1 / (1 - p) for the others."""
    count = x.numel()
    bits = torch.empty((count + 3) // 4, dtype=torch.int64).random_(-(2**63), None)
    dropped = min(round(p * _LEVELS), _LEVELS - 1)
    mask = bits.view(torch.int16)[:count].view(x.shape) >= dropped - _LEVELS // 2
    return mask.to(x.dtype).mul_(_LEVELS / (_LEVELS - dropped))
