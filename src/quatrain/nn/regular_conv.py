"""Regular convolution, the control: every position mixes its neighbours by the same matrices.

    convolution = RegularConvSpec(kernel=3).build(channels=256)              # maps, (N, C, H, W)
    convolution = RegularConvSpec(kernel=3).build(channels=512, ndim=1)      # sequences, (B, T, C)
    y = convolution(x, causal=True)

Shapes: b batch, t tokens, c channels.
"""

from typing import Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn.functional import conv1d, conv2d

from quatrain.nn.convolution import (
    Convolution,
    ConvSpec,
    InputState,
    check_stepwise,
    refuse_keys,
    surround,
    without_padding,
)


class RegularConvSpec(ConvSpec):
    """A convolution whose weights are the same for every position.

    Source: Zhu et al. 2019, https://arxiv.org/abs/1904.05873, equation 3.
    """

    kind: Literal["regular"] = "regular"

    def build(self, channels: int, ndim: int = 2, key_channels: int | None = None) -> "RegularConv":
        """The module, for maps (2) or sequences (1) of `channels`."""
        refuse_keys(channels, key_channels)
        return RegularConv(self, channels, ndim)


class RegularConv(Convolution):
    """A convolution that keeps the channels.

    Source: Zhu et al. 2019, https://arxiv.org/abs/1904.05873, equation 3.
    """

    def __init__(self, spec: RegularConvSpec, channels: int, ndim: int = 2) -> None:
        super().__init__(channels, ndim, spec.groups)
        self.spec = spec
        width = channels // spec.groups
        self.weight = nn.Parameter(torch.empty(channels, width, *[spec.kernel] * ndim))
        self.bias = nn.Parameter(torch.empty(channels)) if spec.bias else None
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw weights of variance 1 / inputs; add nothing."""
        nn.init.kaiming_uniform_(self.weight, a=1)
        if self.bias is not None:
            nn.init.zeros_(self.bias)

    def _convolve(
        self,
        x: Float[Tensor, "*shape"],
        key_padding_mask: Bool[Tensor, "b t"] | None,
        *,
        causal: bool,
    ) -> Float[Tensor, "*reached"]:
        x, spec = without_padding(x, key_padding_mask), self.spec
        if self.ndim == 2:
            return conv2d(
                x, self.weight, self.bias, spec.stride, spec.padding, spec.dilation, spec.groups
            )
        return self._along(surround(x, 2 * spec.padding, causal=causal), spec.stride)

    def step(
        self, x: Float[Tensor, "b 1 c"], state: InputState | None
    ) -> tuple[Float[Tensor, "b 1 c"], InputState]:
        """One token of the causal convolution: its output, and the next state."""
        check_stepwise(self.ndim, self.spec.stride)
        reach = 2 * self.spec.padding
        seen = (InputState.empty(x, reach) if state is None else state).extended(x)
        return self._along(seen.inputs, stride=1), seen.last(reach)

    def _along(self, x: Float[Tensor, "b s c"], stride: int) -> Float[Tensor, "b t c"]:
        spec = self.spec
        y = conv1d(x.transpose(1, 2), self.weight, self.bias, stride, 0, spec.dilation, spec.groups)
        return y.transpose(1, 2)
