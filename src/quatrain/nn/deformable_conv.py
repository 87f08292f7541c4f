"""Deformable convolution: taps that move to where the query's neighbourhood sends them.

    convolution = DeformableConvSpec().build(channels=256)                       # maps
    convolution = DeformableConvSpec(modulated=True).build(channels=512, ndim=1) # sequences
    y = convolution(x, causal=True)

Shapes: b batch, t tokens, c channels, d groups of channels with offsets of their own, m taps.
"""

from typing import ClassVar, Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn.functional import conv1d, conv2d

from quatrain.nn.checks import Count, check_divides
from quatrain.nn.convolution import (
    Convolution,
    ConvSpec,
    InputState,
    check_stepwise,
    refuse_keys,
    surround,
    without_padding,
)
from quatrain.nn.scripting import warn_of_tracing
from quatrain.ops.deform import Method, deform_conv1d, deform_conv2d


class DeformableConvSpec(ConvSpec):
    """A convolution whose taps are displaced, and with `modulated` weighed, by the content.

    Source: Zhu et al. 2019, https://arxiv.org/abs/1904.05873, equation 4.
    """

    kind: Literal["deformable"] = "deformable"
    offset_groups: Count = 1
    """Groups of channels that have displacements of their own."""
    modulated: bool = False
    """Whether each tap is also multiplied by a number between 0 and 1 (the second version)."""

    def build(
        self, channels: int, ndim: int = 2, key_channels: int | None = None
    ) -> "DeformableConv":
        """The module, for maps (2) or sequences (1) of `channels`."""
        refuse_keys(channels, key_channels)
        return DeformableConv(self, channels, ndim)


class DeformableConv(Convolution):
    """A deformable convolution that keeps the channels.

    `offset` predicts displacements (y, x for each tap of each group) and, after them, modulations,
    by a convolution of the same taps. It begins at zero, so that all begins as the regular
    convolution, or as half of it if modulated. Its parameters use a 0.1x learning rate: pass
    `quatrain.training.param_groups(model, lr)` to the optimizer. Set `method` to force how a map
    is computed, instead of letting `plan` choose.

    Source: Zhu et al. 2019, https://arxiv.org/abs/1904.05873, equation 4 and section 4.1;
        modulation from Zhu et al. 2018, https://arxiv.org/abs/1811.11168, section 3.2.
    Differs: the paper predicts from the query alone (w^T x_q); ours from its neighbourhood, as in
        the released code.
    """

    lr_scales: ClassVar = {"offset": 0.1}

    def __init__(self, spec: DeformableConvSpec, channels: int, ndim: int = 2) -> None:
        super().__init__(channels, ndim, spec.groups)
        check_divides("offset_groups", spec.offset_groups, channels)
        self.spec = spec
        self.method: Method = "auto"
        self.taps = spec.kernel**ndim
        kernel = [spec.kernel] * ndim
        self.weight = nn.Parameter(torch.empty(channels, channels // spec.groups, *kernel))
        self.bias = nn.Parameter(torch.empty(channels)) if spec.bias else None
        numbers = spec.offset_groups * self.taps * (ndim + spec.modulated)
        layer = nn.Conv1d if ndim == 1 else nn.Conv2d
        self.offset = layer(channels, numbers, spec.kernel)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw weights of variance 1 / inputs; displace and add nothing."""
        nn.init.kaiming_uniform_(self.weight, a=1)
        nn.init.zeros_(self.offset.weight)
        for bias in (self.bias, self.offset.bias):
            if bias is not None:
                nn.init.zeros_(bias)

    def _convolve(
        self,
        x: Float[Tensor, "*shape"],
        key_padding_mask: Bool[Tensor, "b t"] | None,
        *,
        causal: bool,
    ) -> Float[Tensor, "*reached"]:
        warn_of_tracing(self)
        x, spec = without_padding(x, key_padding_mask), self.spec
        if self.ndim == 2:
            moved = conv2d(
                x, self.offset.weight, self.offset.bias, spec.stride, spec.padding, spec.dilation
            )
            offset, modulation = self._read(moved, axis=1)
            y = deform_conv2d(
                x,
                offset,
                self.weight,
                stride=spec.stride,
                padding=spec.padding,
                dilation=spec.dilation,
                modulation=modulation,
                method=self.method,
            )
            return y if self.bias is None else y + self.bias[:, None, None]
        near = surround(x, 2 * spec.padding, causal=causal)
        offset, modulation = self._displace(near, spec.stride)
        y = deform_conv1d(
            x,
            offset,
            self.weight,
            stride=spec.stride,
            padding=spec.padding,
            dilation=spec.dilation,
            modulation=modulation,
            causal=causal,
        )
        return y if self.bias is None else y + self.bias

    def step(
        self, x: Float[Tensor, "b 1 c"], state: InputState | None
    ) -> tuple[Float[Tensor, "b 1 c"], InputState]:
        """One token of the causal convolution: its output, and the next state.

        A tap may be sent to any earlier token, so all of them are remembered.
        """
        check_stepwise(self.ndim, self.spec.stride)
        seen = (InputState.empty(x) if state is None else state).extended(x)
        reach = 2 * self.spec.padding
        near = surround(seen.inputs, reach, causal=True)[:, -(reach + 1) :]
        offset, modulation = self._displace(near, stride=1)
        y = deform_conv1d(
            seen.inputs,
            offset,
            self.weight,
            dilation=self.spec.dilation,
            modulation=modulation,
            causal=True,
        )
        return y if self.bias is None else y + self.bias, seen

    def _displace(
        self, x: Float[Tensor, "b s c"], stride: int
    ) -> tuple[Float[Tensor, "b t dm"], Float[Tensor, "b t dm"] | None]:
        layer = self.offset
        moved = conv1d(x.transpose(1, 2), layer.weight, layer.bias, stride, 0, self.spec.dilation)
        return self._read(moved.transpose(1, 2), axis=2)

    def _read(self, moved: Tensor, axis: int) -> tuple[Tensor, Tensor | None]:
        """Displacements and modulations, which lie side by side along `axis`."""
        count = self.spec.offset_groups * self.taps
        if not self.spec.modulated:
            return moved, None
        offset, modulation = moved.split([count * self.ndim, count], dim=axis)
        return offset, modulation.sigmoid()
