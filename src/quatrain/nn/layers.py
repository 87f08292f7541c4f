"""Layers of networks with mixers: linear projection, dropout, gated residual connection.

block = GatedResidual(GeneralizedAttention(256, terms="0010"))
y = block(x)                       # x + gamma * attention(x); gamma starts at zero
"""

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn.functional import dropout as torch_dropout

from quatrain.nn.tracing import check_not_scripted
from quatrain.specs import SpecError

_LEVELS = 65536


class Projection(nn.Linear):
    """A linear layer with initial weights of variance 1 / inputs and zero bias.

    Source: LeCun et al. 1998, Efficient BackProp, section 4.6,
        http://yann.lecun.com/exdb/publis/pdf/lecun-98b.pdf.
    Differs: the distribution is uniform, as in the released code of generalized attention.
    """

    def reset_parameters(self) -> None:
        """Draw the weights and set the bias to zero."""
        nn.init.kaiming_uniform_(self.weight, a=1)
        if self.bias is not None:
            nn.init.zeros_(self.bias)


def dropout(x: Float[Tensor, "..."], p: float, training: bool) -> Float[Tensor, "..."]:
    """Zero each element with probability `p` and divide the others by 1 - `p`.

    torch draws one uniform number per element on a CPU, which was over a quarter of a small
    Transformer's training step. Here four elements share one 64-bit draw, 16 bits each, so
    probabilities are exact to 1/65536.

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


class Dropout(nn.Module):
    """Zero elements with probability p while training, and scale the others by 1 / (1 - p).

    Source: Srivastava et al. 2014, https://jmlr.org/papers/v15/srivastava14a.html.
    """

    __prepare_scriptable__ = check_not_scripted

    def __init__(self, p: float) -> None:
        super().__init__()
        if not 0 <= p < 1:
            raise SpecError(f"p={p} is not at least 0 and below 1; use 0 to drop nothing", "p")
        self.p = p

    def forward(self, x: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
        """Zero each element with probability p while training; else return the input."""
        return dropout(x, self.p, self.training)

    def extra_repr(self) -> str:
        """The probability, for printing."""
        return f"p={self.p}"


class GatedResidual(nn.Module):
    """x + gamma * mixer(x); gamma starts at zero, where this is x bit for bit.

    While gamma is zero no gradient reaches the mixer; after one step it does.

    Source: Zhu et al. 2019, https://arxiv.org/abs/1904.05873, figure 2 (a); gamma as Wang et al.
        2018, https://arxiv.org/abs/1711.07971, section 4.1.
    """

    def __init__(self, mixer: nn.Module) -> None:
        super().__init__()
        self.mixer = mixer
        self.gamma: nn.Parameter = nn.Parameter(torch.zeros(()))

    def forward(
        self,
        x: Float[Tensor, "*shape"],
        *,
        causal: bool = False,
        key_padding_mask: Bool[Tensor, "b t"] | None = None,
    ) -> Float[Tensor, "*shape"]:
        """Add the scaled output of the mixer to `x`; the other arguments are the mixer's."""
        branch = self.mixer(x, causal=causal, key_padding_mask=key_padding_mask)
        return x + self.gamma * branch
