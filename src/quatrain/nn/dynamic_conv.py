"""Dynamic convolution (kernels predicted at each position) and lightweight (one shared kernel).

    DynamicConv(256, kernel=31)                   # maps, (N, C, H, W)
    LightweightConv(512, kernel=7, ndim=1)        # sequences, (B, T, C)

Both are a gated linear unit, a depthwise convolution whose kernel is softmax-normalized, and an
output projection.

Shapes: b batch, t tokens, c channels, g groups of channels that share a kernel, d channels of a
group, m taps over all axes.
"""

from typing import ClassVar, Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn.functional import conv1d, conv2d, glu

from quatrain.nn.checks import Count, KernelWidth, check_stepwise
from quatrain.nn.convolution import Convolution, InputState, pad_sequence, zero_padding
from quatrain.nn.layers import Projection
from quatrain.nn.mixer_module import MixerSpec
from quatrain.nn.tracing import warn_of_tracing
from quatrain.ops.dynamic import dynamic_conv1d, dynamic_conv2d
from quatrain.specs import Spec


class DepthwiseSpec(Spec):
    """A softmax-normalized kernel for each group of channels."""

    kernel: KernelWidth = 3
    """Odd width of the kernel, per axis."""
    groups: Count = 16
    """Groups of channels that share a kernel."""

    divisors: ClassVar[tuple[str, ...]] = ("groups",)


class DynamicConvSpec(DepthwiseSpec, MixerSpec["DynamicConv"]):
    """A convolution whose kernel is predicted from the query.

    Source: Zhu et al. 2019, https://arxiv.org/abs/1904.05873, equations 5 to 7.
    """

    kind: Literal["dynamic"] = "dynamic"


class LightweightConvSpec(DepthwiseSpec, MixerSpec["LightweightConv"]):
    """A depthwise convolution whose kernel is the same at every position.

    Source: Wu et al. 2019, https://arxiv.org/abs/1901.10430, section 3.
    """

    kind: Literal["lightweight"] = "lightweight"


class _DepthwiseConv(Convolution):
    """Gated linear unit, depthwise convolution, projection; subclasses provide the kernel."""

    spec: DynamicConvSpec | LightweightConvSpec

    def _create_parameters(self) -> None:
        self.gate: Projection = Projection(self.channels, 2 * self.channels)
        self.output: Projection = Projection(self.channels, self.channels)

    def _convolve(
        self, x: Float[Tensor, "*shape"], mask: Bool[Tensor, "b t"] | None, *, causal: bool
    ) -> Float[Tensor, "*shape"]:
        axis = 1 if self.ndim == 2 else -1
        gated = glu(self.gate(x.movedim(axis, -1))).movedim(-1, axis)
        convolved = self._convolve_channels(zero_padding(gated, mask), causal=causal)
        return self.output(convolved.movedim(axis, -1)).movedim(-1, axis)

    def step(
        self, x: Float[Tensor, "b 1 c"], state: InputState | None
    ) -> tuple[Float[Tensor, "b 1 c"], InputState]:
        """Decode one token of the causal convolution: its output, and the next state."""
        check_stepwise(self.ndim, "stride", 1)
        gated = glu(self.gate(x))
        past = self.spec.kernel - 1
        state = (InputState.empty(gated, past) if state is None else state).append(gated)
        inputs = state.inputs.unflatten(-1, (self.spec.groups, -1))
        convolved = torch.einsum("bmgd,bgm->bgd", inputs, self._kernels(gated)[:, 0])
        return self.output(convolved.flatten(1)[:, None]), state.last(past)

    def _kernels(self, x: Float[Tensor, "*b c"]) -> Float[Tensor, "*b g m"]:
        raise NotImplementedError

    def _convolve_channels(
        self, x: Float[Tensor, "*shape"], *, causal: bool
    ) -> Float[Tensor, "*shape"]:
        raise NotImplementedError


class DynamicConv(_DepthwiseConv, spec=DynamicConvSpec):
    """Dynamic convolution; hyper-parameters: `DynamicConvSpec`.

    `gate` is the gated linear unit, `kernel` are the d_{j,g} that predict the kernel, `output`
    is W_c.

    Source: Zhu et al. 2019, https://arxiv.org/abs/1904.05873, equations 5 to 7 and section 4.1;
        Wu et al. 2019, https://arxiv.org/abs/1901.10430, section 4.
    """

    def _create_parameters(self) -> None:
        super()._create_parameters()
        taps = self.spec.kernel**self.ndim
        self.kernel: Projection = Projection(self.channels, self.spec.groups * taps, bias=False)

    def _kernels(self, x: Float[Tensor, "*b c"]) -> Float[Tensor, "*b g m"]:
        return self.kernel(x).unflatten(-1, (self.spec.groups, -1)).softmax(-1)

    def _convolve_channels(
        self, x: Float[Tensor, "*shape"], *, causal: bool
    ) -> Float[Tensor, "*shape"]:
        warn_of_tracing(self)
        if self.ndim == 1:
            return dynamic_conv1d(x, self._kernels(x), causal=causal)
        kernels = self._kernels(x.movedim(1, -1))
        return dynamic_conv2d(x, kernels.unflatten(-1, (self.spec.kernel, self.spec.kernel)))


class LightweightConv(_DepthwiseConv, spec=LightweightConvSpec):
    """Lightweight convolution; hyper-parameters: `LightweightConvSpec`.

    `gate` is the gated linear unit, `kernel` the kernel before its softmax, `output` a projection.

    Source: Wu et al. 2019, https://arxiv.org/abs/1901.10430, section 3.
    """

    def _create_parameters(self) -> None:
        super()._create_parameters()
        self.kernel: nn.Parameter = nn.Parameter(
            torch.empty(self.spec.groups, self.spec.kernel**self.ndim)
        )
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw the logits of the kernel, of variance 1 / taps."""
        nn.init.kaiming_uniform_(self.kernel, a=1)

    def _kernels(self, x: Float[Tensor, "*b c"]) -> Float[Tensor, "*b g m"]:
        return self.kernel.softmax(-1).expand(*x.shape[:-1], -1, -1)

    def _convolve_channels(
        self, x: Float[Tensor, "*shape"], *, causal: bool
    ) -> Float[Tensor, "*shape"]:
        width, copies = self.spec.kernel, self.channels // self.spec.groups
        weight = self.kernel.softmax(-1).repeat_interleave(copies, 0)
        weight = weight.reshape(self.channels, 1, *[width] * self.ndim)
        if self.ndim == 2:
            return conv2d(x, weight, padding=width // 2, groups=self.channels)
        padded = pad_sequence(x, width - 1, causal=causal).transpose(1, 2)
        return conv1d(padded, weight, groups=self.channels).transpose(1, 2)
