"""Layers of networks with mixers: linear projection, dropout, gated residual connection.

block = GatedResidual(GeneralizedAttention(256, terms="0010"))
y = block(x)                       # x + gamma * attention(x); gamma starts at zero
"""

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from quatrain.nn.tracing import check_not_scripted
from quatrain.ops.dropout import dropout
from quatrain.specs import SpecError


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


class Dropout(nn.Module):
    """Zero elements with probability p while training, and scale the others by 1 / (1 - p).

    Source: Srivastava et al. 2014, https://jmlr.org/papers/v15/srivastava14a.html.
    """

    __prepare_scriptable__ = check_not_scripted

    def __init__(self, p: float) -> None:
        super().__init__()
        if not 0 <= p < 1:
            raise SpecError(f"p={p} is not a probability below 1; use 0 to drop nothing", "p")
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
