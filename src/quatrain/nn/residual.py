"""The residual block that adds a mixer to a trained network.

block = GatedResidual(GeneralizedAttention(256, terms="0010"))
y = block(x)                       # x + gamma * attention(x); gamma starts at zero
"""

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn


def zero_gamma() -> nn.Parameter:
    """The learned factor of a residual branch, which starts at zero."""
    return nn.Parameter(torch.zeros(()))


def add_branch(
    x: Float[Tensor, "*shape"], branch: Float[Tensor, "*shape"], gamma: nn.Parameter | None
) -> Float[Tensor, "*shape"]:
    """X + gamma * branch, or x + branch without gamma."""
    return x + (branch if gamma is None else gamma * branch)


class GatedResidual(nn.Module):
    """x + gamma * mixer(x); gamma starts at zero, where this is x bit for bit.

    While gamma is zero no gradient reaches the mixer; after one step it does.

    Source: Zhu et al. 2019, https://arxiv.org/abs/1904.05873, figure 2 (a); gamma as Wang et al.
        2018, https://arxiv.org/abs/1711.07971, section 4.1.
    """

    def __init__(self, mixer: nn.Module) -> None:
        super().__init__()
        self.mixer = mixer
        self.gamma: nn.Parameter = zero_gamma()

    def forward(
        self,
        x: Float[Tensor, "*shape"],
        *,
        causal: bool = False,
        key_padding_mask: Bool[Tensor, "b t"] | None = None,
    ) -> Float[Tensor, "*shape"]:
        """Add the scaled output of the mixer to `x`.

        Args:
            x: the input.
            causal: whether an output depends only on positions at or before its own (sequences).
            key_padding_mask: True at padding; (B, T) or (N, H * W).
        """
        branch = self.mixer(x, causal=causal, key_padding_mask=key_padding_mask)
        return add_branch(x, branch, self.gamma)
