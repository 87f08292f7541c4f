"""Deformable convolution: predicted offsets move the taps, as in DCN (v1) and DCNv2 (modulated).

    DeformableConv(256)                               # maps, (N, C, H, W)
    DeformableConv(512, modulated=True, ndim=1)       # sequences, (B, T, C)

Shapes: b batch, t tokens, s tokens with the zeros around them, c channels, d offset groups, m taps,
p output positions, n axes.
"""

import math
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from einops import rearrange
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn.functional import conv1d, conv2d

from quatrain.nn.checks import Count, check_stepwise
from quatrain.nn.convolution import (
    ConvSpec,
    InputState,
    KernelConvolution,
    check_input,
    pad_sequence,
    zero_padding,
)
from quatrain.nn.mixer_module import MixerSpec
from quatrain.nn.tracing import warn_of_tracing
from quatrain.ops.deform import Method, Taps, deform_conv1d, deform_conv2d
from quatrain.ops.precision import upcast


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


@dataclass(frozen=True)
class SamplingOffsets:
    """Where the taps of a deformable convolution, or of another deformable mixer, read its input.

    Coordinates count positions of the input, (t,) or (y, x), from 0; output position q lies at
    stride * q. `taps` has the sizes and the regular sampling grid, `offset` is added to it, and
    `modulation` multiplies what is read (DCNv2, and the weights of deformable attention, DCNv3 and
    DCNv4; None without it). Output positions are in order, row by row on a map.

    Source: Zhu et al. 2019, https://arxiv.org/abs/1904.05873, equation 4.
    """

    offset: Float[Tensor, "b p d m n"]
    taps: Taps
    modulation: Float[Tensor, "b p d m"] | None = None
    causal: bool = False

    @property
    def output_sizes(self) -> tuple[int, ...]:
        """The sizes of the output, (T,) or (H, W)."""
        if self.causal:
            return (self.offset.shape[1],)
        return self.taps.output_sizes

    @property
    def queries(self) -> Float[Tensor, "p n"]:
        """The coordinates of the output positions in the input."""
        axes = [torch.arange(size, device=self.offset.device) for size in self.output_sizes]
        at = torch.cartesian_prod(*axes).reshape(-1, len(axes)) * self.taps.stride
        return at.to(self.offset.dtype)

    @property
    def regular(self) -> Float[Tensor, "p m n"]:
        """The coordinates of the taps before offsets."""
        return self.taps.positions(self.offset)[: math.prod(self.output_sizes)]

    @property
    def positions(self) -> Float[Tensor, "b p d m n"]:
        """The coordinates that are read; in a causal convolution at most those of the query."""
        positions = self.regular[:, None] + self.offset
        return positions.minimum(self.queries[:, None, None]) if self.causal else positions


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

    def explain(
        self,
        x: Float[Tensor, "*shape"],
        *,
        causal: bool = False,
        key_padding_mask: Bool[Tensor, "b t"] | None = None,
    ) -> SamplingOffsets:
        """The sampling offsets and modulations that `forward` computes for these inputs."""
        check_input(x, self.channels, self.ndim, causal=causal)
        x, spec = zero_padding(x, key_padding_mask), self.spec
        if self.ndim == 2:
            grid = (spec.stride, spec.padding, spec.dilation)
            predicted = conv2d(x, self.offset.weight, self.offset.bias, *grid)
            offset, modulation = self._split(predicted.flatten(2).transpose(1, 2), axis=2)
        else:
            padded = pad_sequence(x, 2 * spec.padding, causal=causal)
            offset, modulation = self._predict_offsets(padded, spec.stride)
        groups, sizes = spec.offset_groups, x.shape[2:] if self.ndim == 2 else x.shape[1:2]
        padding = 2 * spec.padding if causal else spec.padding
        kernel = (spec.kernel,) * self.ndim
        return SamplingOffsets(
            rearrange(upcast(offset), "b p (d m n) -> b p d m n", d=groups, n=self.ndim),
            Taps(tuple(sizes), kernel, spec.stride, padding, spec.dilation),
            None
            if modulation is None
            else rearrange(upcast(modulation), "b p (d m) -> b p d m", d=groups),
            causal,
        )

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
