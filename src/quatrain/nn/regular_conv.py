"""Regular convolution, the control: the same weight matrix per tap at every position.

    RegularConv(256, kernel=3)              # maps, (N, C, H, W)
    RegularConv(512, kernel=3, ndim=1)      # sequences, (B, T, C)

Shapes: b batch, t tokens, s tokens with the zeros around them, c channels.
"""

from typing import Literal

from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn.functional import conv1d, conv2d

from quatrain.nn.checks import check_stepwise
from quatrain.nn.convolution import (
    ConvSpec,
    InputState,
    KernelConvolution,
    pad_sequence,
    zero_padding,
)
from quatrain.nn.mixer_module import MixerSpec


class RegularConvSpec(ConvSpec, MixerSpec["RegularConv"]):
    """A convolution whose weights are the same for every position.

    Source: Zhu et al. 2019, https://arxiv.org/abs/1904.05873, equation 3.
    """

    kind: Literal["regular"] = "regular"


class RegularConv(KernelConvolution, spec=RegularConvSpec):
    """A convolution that keeps the number of channels; hyper-parameters: `RegularConvSpec`.

    Source: Zhu et al. 2019, https://arxiv.org/abs/1904.05873, equation 3.
    """

    spec: RegularConvSpec

    def _create_parameters(self) -> None:
        super()._create_parameters()
        self.reset_parameters()

    def _convolve(
        self,
        x: Float[Tensor, "*shape"],
        key_padding_mask: Bool[Tensor, "b t"] | None,
        *,
        causal: bool,
    ) -> Float[Tensor, "*strided"]:
        x, spec = zero_padding(x, key_padding_mask), self.spec
        if self.ndim == 2:
            return conv2d(
                x, self.weight, self.bias, spec.stride, spec.padding, spec.dilation, spec.groups
            )
        return self._convolve_padded(pad_sequence(x, 2 * spec.padding, causal=causal), spec.stride)

    def step(
        self, x: Float[Tensor, "b 1 c"], state: InputState | None
    ) -> tuple[Float[Tensor, "b 1 c"], InputState]:
        """Decode one token of the causal convolution: its output, and the next state."""
        check_stepwise(self.ndim, "stride", self.spec.stride)
        zeros = 2 * self.spec.padding
        state = (InputState.empty(x, zeros) if state is None else state).append(x)
        return self._convolve_padded(state.inputs, stride=1), state.last(zeros)

    def _convolve_padded(self, x: Float[Tensor, "b s c"], stride: int) -> Float[Tensor, "b t c"]:
        spec = self.spec
        y = conv1d(x.transpose(1, 2), self.weight, self.bias, stride, 0, spec.dilation, spec.groups)
        return y.transpose(1, 2)
