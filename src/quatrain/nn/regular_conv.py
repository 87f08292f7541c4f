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
from torch.nn.functional import conv1d, conv2d, pad

from quatrain.nn.convolution import (
    ConvSpec,
    InputState,
    check_groups,
    check_input,
    check_ndim,
    check_stepwise,
    refuse_keys,
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


class RegularConv(nn.Module):
    """A convolution without bias that keeps the channels.

    Source: Zhu et al. 2019, https://arxiv.org/abs/1904.05873, equation 3.
    """

    def __init__(self, spec: RegularConvSpec, channels: int, ndim: int = 2) -> None:
        super().__init__()
        check_ndim(ndim)
        check_groups("groups", spec.groups, channels)
        self.spec, self.channels, self.ndim = spec, channels, ndim
        width = channels // spec.groups
        self.weight = nn.Parameter(torch.empty(channels, width, *[spec.kernel] * ndim))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw weights of variance 1 / inputs."""
        nn.init.kaiming_uniform_(self.weight, a=1)

    def forward(
        self,
        x: Float[Tensor, "*shape"],
        *,
        causal: bool = False,
        key_padding_mask: Bool[Tensor, "b t"] | None = None,
    ) -> Float[Tensor, "*reached"]:
        """Convolve (B, T, C) or (N, C, H, W).

        Args:
            x: the input.
            causal: whether an output sees only positions at or before its own (sequences).
            key_padding_mask: True at padding, which reads zero; (B, T) or (N, H * W).

        Raises:
            InputError: if a shape or mask does not fit.
        """
        check_input(x, self.channels, self.ndim, causal=causal)
        x, spec = without_padding(x, key_padding_mask), self.spec
        if self.ndim == 2:
            return conv2d(
                x, self.weight, None, spec.stride, spec.padding, spec.dilation, spec.groups
            )
        reach = 2 * spec.padding
        before = reach if causal else spec.padding
        return self._along(pad(x, (0, 0, before, reach - before)), spec.stride)

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
        y = conv1d(x.transpose(1, 2), self.weight, None, stride, 0, spec.dilation, spec.groups)
        return y.transpose(1, 2)
