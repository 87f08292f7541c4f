"""Deformable convolution: predicted offsets move the taps, as in DCN (v1) and DCNv2 (modulated).

    DeformableConv(256)                               # maps, (N, C, H, W)
    DeformableConv(512, modulated=True, ndim=1)       # sequences, (B, T, C)

Shapes: b batch, t tokens, s tokens with the zeros around them, c channels, d offset groups, m taps.
"""

from typing import ClassVar, Literal

from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn.functional import conv1d, conv2d

from quatrain.nn.checks import Count, check_stepwise
from quatrain.nn.convolution import (
    ConvSpec,
    InputState,
    KernelConvolution,
    pad_sequence,
    zero_padding,
)
from quatrain.nn.mixer_module import MixerSpec
from quatrain.nn.tracing import warn_of_tracing
from quatrain.ops.deform import Method, deform_conv1d, deform_conv2d


class DeformableConvSpec(ConvSpec, MixerSpec["DeformableConv"]):
    """A convolution whose taps have predicted offsets, and with `modulated` predicted weights.

    Source: Zhu et al. 2019, https://arxiv.org/abs/1904.05873, equation 4.
    """

    kind: Literal["deformable"] = "deformable"
    offset_groups: Count = 1
    """Groups of channels with separate offsets."""
    modulated: bool = False
    """Whether each tap is multiplied by a predicted number between 0 and 1 (DCNv2)."""

    divisors: ClassVar[tuple[str, ...]] = ("groups", "offset_groups")


class DeformableConv(KernelConvolution, spec=DeformableConvSpec):
    """A deformable convolution that keeps the channels; hyper-parameters: `DeformableConvSpec`.

    `offset` is a convolution that predicts offsets (y, x for each tap of each group), followed by
    modulations. Its weights start at zero, so the module starts as the regular convolution, or as
    half of it if modulated. Offset parameters use a 0.1x learning rate: pass
    `quatrain.nn.param_groups(model, lr)` to the optimizer. Set `method` to choose the algorithm for
    maps; by default `plan` chooses.

    Source: Zhu et al. 2019, https://arxiv.org/abs/1904.05873, equation 4 and section 4.1;
        modulation from Zhu et al. 2018, https://arxiv.org/abs/1811.11168, section 3.2.
    Differs: the paper predicts from the query alone (w^T x_q); ours from its neighbourhood, as in
        the released code.
    """

    lr_scales: ClassVar[dict[str, float]] = {"offset": 0.1}
    spec: DeformableConvSpec

    def _create_parameters(self) -> None:
        super()._create_parameters()
        self.method: Method = "auto"
        self.taps: int = self.spec.kernel**self.ndim
        predicted = self.spec.offset_groups * self.taps * (self.ndim + self.spec.modulated)
        layer = nn.Conv1d if self.ndim == 1 else nn.Conv2d
        self.offset: nn.Conv1d | nn.Conv2d = layer(self.channels, predicted, self.spec.kernel)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw weights of variance 1 / inputs; set offsets and biases to zero."""
        super().reset_parameters()
        nn.init.zeros_(self.offset.weight)
        if self.offset.bias is not None:
            nn.init.zeros_(self.offset.bias)

    def _convolve(
        self, x: Float[Tensor, "*shape"], mask: Bool[Tensor, "b t"] | None, *, causal: bool
    ) -> Float[Tensor, "*strided"]:
        warn_of_tracing(self)
        x, spec = zero_padding(x, mask), self.spec
        taps = {"stride": spec.stride, "padding": spec.padding, "dilation": spec.dilation}
        if self.ndim == 2:
            predicted = conv2d(x, self.offset.weight, self.offset.bias, **taps)
            offset, modulation = self._split(predicted, axis=1)
            y = deform_conv2d(
                x, offset, self.weight, **taps, modulation=modulation, method=self.method
            )
            return y if self.bias is None else y + self.bias[:, None, None]
        padded = pad_sequence(x, 2 * spec.padding, causal=causal)
        offset, modulation = self._predict_offsets(padded, spec.stride)
        y = deform_conv1d(x, offset, self.weight, **taps, modulation=modulation, causal=causal)
        return y if self.bias is None else y + self.bias

    def step(
        self, x: Float[Tensor, "b 1 c"], state: InputState | None
    ) -> tuple[Float[Tensor, "b 1 c"], InputState]:
        """Decode one token of the causal convolution: its output, and the next state.

        An offset may reach any earlier token, so the state contains all of them.
        """
        check_stepwise(self.ndim, "stride", self.spec.stride)
        state = (InputState.empty(x) if state is None else state).append(x)
        zeros = 2 * self.spec.padding
        window = pad_sequence(state.inputs, zeros, causal=True)[:, -(zeros + 1) :]
        offset, modulation = self._predict_offsets(window, stride=1)
        y = deform_conv1d(
            state.inputs,
            offset,
            self.weight,
            dilation=self.spec.dilation,
            modulation=modulation,
            causal=True,
        )
        return y if self.bias is None else y + self.bias, state

    def _predict_offsets(
        self, x: Float[Tensor, "b s c"], stride: int
    ) -> tuple[Float[Tensor, "b t dm"], Float[Tensor, "b t dm"] | None]:
        layer, dilation = self.offset, self.spec.dilation
        predicted = conv1d(x.transpose(1, 2), layer.weight, layer.bias, stride, 0, dilation)
        return self._split(predicted.transpose(1, 2), axis=2)

    def _split(self, predicted: Tensor, axis: int) -> tuple[Tensor, Tensor | None]:
        """Offsets and modulations, which are concatenated along `axis`."""
        count = self.spec.offset_groups * self.taps
        if not self.spec.modulated:
            return predicted, None
        offset, modulation = predicted.split([count * self.ndim, count], dim=axis)
        return offset, modulation.sigmoid()
