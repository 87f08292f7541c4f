"""Dynamic convolution, whose weights each position predicts, and lightweight, where all share them.

    convolution = DynamicConvSpec(kernel=31).build(channels=256)                  # maps
    convolution = LightweightConvSpec(kernel=7).build(channels=512, ndim=1)       # sequences
    y = convolution(x, causal=True)

Both are wrapped alike: a gated linear unit, the convolution within each channel, a projection.

Shapes: b batch, t tokens, c channels, g groups of channels that share their weights, n width of
the window, m taps over all axes.
"""

from typing import Literal

import torch
from einops import rearrange
from jaxtyping import Bool, Float
from pydantic import field_validator
from torch import Tensor, nn
from torch.nn.functional import conv1d, conv2d, glu

from quatrain.nn.checks import Count, Width
from quatrain.nn.convolution import (
    Convolution,
    InputState,
    check_odd,
    check_stepwise,
    refuse_keys,
    surround,
    without_padding,
)
from quatrain.nn.initialization import Projection
from quatrain.nn.scripting import warn_of_tracing
from quatrain.ops.dynamic import dynamic_conv1d, dynamic_conv2d
from quatrain.specs import Spec


class WindowSpec(Spec):
    """A window of softmax-normalised weights for each group of channels."""

    kernel: Width = 3
    """Odd width of the window, per axis."""
    groups: Count = 16
    """Groups of channels that share their weights."""

    @field_validator("kernel")
    @classmethod
    def _kernel_has_a_middle(cls, kernel: int) -> int:
        return check_odd("kernel", kernel)


class DynamicConvSpec(WindowSpec):
    """A convolution whose weights are predicted from the query.

    Source: Zhu et al. 2019, https://arxiv.org/abs/1904.05873, equations 5 to 7.
    """

    kind: Literal["dynamic"] = "dynamic"

    def build(self, channels: int, ndim: int = 2, key_channels: int | None = None) -> "DynamicConv":
        """The module, for maps (2) or sequences (1) of `channels`."""
        refuse_keys(channels, key_channels)
        return DynamicConv(self, channels, ndim)


class LightweightConvSpec(WindowSpec):
    """A convolution within each channel, whose weights are the same at every position.

    Source: Wu et al. 2019, https://arxiv.org/abs/1901.10430, section 3.
    """

    kind: Literal["lightweight"] = "lightweight"

    def build(
        self, channels: int, ndim: int = 2, key_channels: int | None = None
    ) -> "LightweightConv":
        """The module, for maps (2) or sequences (1) of `channels`."""
        refuse_keys(channels, key_channels)
        return LightweightConv(self, channels, ndim)


class _Windowed(Convolution):
    """Gate, convolve within each channel, project; what differs is where weights come from."""

    def __init__(self, spec: WindowSpec, channels: int, ndim: int) -> None:
        super().__init__(channels, ndim, spec.groups)
        self.spec = spec
        self.gate = Projection(channels, 2 * channels)
        self.output = Projection(channels, channels)

    def _convolve(
        self,
        x: Float[Tensor, "*shape"],
        key_padding_mask: Bool[Tensor, "b t"] | None,
        *,
        causal: bool,
    ) -> Float[Tensor, "*shape"]:
        if self.ndim == 2:
            x = rearrange(x, "b c h w -> b h w c")
            gated = rearrange(glu(self.gate(x)), "b h w c -> b c h w")
            mixed = self._mix_map(without_padding(gated, key_padding_mask))
            return rearrange(
                self.output(rearrange(mixed, "b c h w -> b h w c")), "b h w c -> b c h w"
            )
        gated = without_padding(glu(self.gate(x)), key_padding_mask)
        return self.output(self._mix_sequence(gated, causal=causal))

    def step(
        self, x: Float[Tensor, "b 1 c"], state: InputState | None
    ) -> tuple[Float[Tensor, "b 1 c"], InputState]:
        """One token of the causal convolution: its output, and the next state."""
        check_stepwise(self.ndim)
        gated = glu(self.gate(x))
        before = self.spec.kernel - 1
        seen = (InputState.empty(gated, before) if state is None else state).extended(gated)
        mixed = torch.einsum(
            "bmgd,bgm->bgd", self._by_group(seen.inputs), self._weights(gated)[:, 0]
        )
        return self.output(mixed.flatten(1)[:, None]), seen.last(before)

    def _by_group(self, x: Float[Tensor, "b t c"]) -> Float[Tensor, "b t g d"]:
        return rearrange(x, "b t (g d) -> b t g d", g=self.spec.groups)

    def _weights(self, x: Float[Tensor, "*b c"]) -> Float[Tensor, "*b g m"]:
        raise NotImplementedError

    def _mix_sequence(self, x: Float[Tensor, "b t c"], *, causal: bool) -> Float[Tensor, "b t c"]:
        raise NotImplementedError

    def _mix_map(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        raise NotImplementedError


class DynamicConv(_Windowed):
    """Dynamic convolution: gated linear unit, predicted window, point-wise projection.

    `gate` comes before, `kernel` holds the d_{j,g} that predict the window, `output` is W_c.

    Source: Zhu et al. 2019, https://arxiv.org/abs/1904.05873, equations 5 to 7 and section 4.1;
        Wu et al. 2019, https://arxiv.org/abs/1901.10430, section 4.
    """

    def __init__(self, spec: DynamicConvSpec, channels: int, ndim: int = 2) -> None:
        super().__init__(spec, channels, ndim)
        self.kernel = Projection(channels, spec.groups * spec.kernel**ndim, bias=False)

    def _weights(self, x: Float[Tensor, "*b c"]) -> Float[Tensor, "*b g m"]:
        return self.kernel(x).unflatten(-1, (self.spec.groups, -1)).softmax(-1)

    def _mix_sequence(self, x: Float[Tensor, "b t c"], *, causal: bool) -> Float[Tensor, "b t c"]:
        warn_of_tracing(self)
        return dynamic_conv1d(x, self._weights(x), causal=causal)

    def _mix_map(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        warn_of_tracing(self)
        weights = self._weights(rearrange(x, "b c h w -> b h w c"))
        return dynamic_conv2d(x, weights.unflatten(-1, (self.spec.kernel, self.spec.kernel)))


class LightweightConv(_Windowed):
    """Lightweight convolution: gated linear unit, one window per group, point-wise projection.

    `kernel` is the window before its softmax.

    Source: Wu et al. 2019, https://arxiv.org/abs/1901.10430, section 3.
    """

    def __init__(self, spec: LightweightConvSpec, channels: int, ndim: int = 2) -> None:
        super().__init__(spec, channels, ndim)
        self.kernel = nn.Parameter(torch.empty(spec.groups, spec.kernel**ndim))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw the window's logits, of variance 1 / taps; the projections draw themselves."""
        nn.init.kaiming_uniform_(self.kernel, a=1)

    def _weights(self, x: Float[Tensor, "*b c"]) -> Float[Tensor, "*b g m"]:
        return self.kernel.softmax(-1).expand(*x.shape[:-1], -1, -1)

    def _mix_sequence(self, x: Float[Tensor, "b t c"], *, causal: bool) -> Float[Tensor, "b t c"]:
        wide = surround(x, self.spec.kernel - 1, causal=causal).transpose(1, 2)
        return conv1d(wide, self._by_channel(1), groups=self.channels).transpose(1, 2)

    def _mix_map(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        return conv2d(x, self._by_channel(2), padding=self.spec.kernel // 2, groups=self.channels)

    def _by_channel(self, ndim: int) -> Float[Tensor, "c 1 *kernel"]:
        weights = self.kernel.softmax(-1).repeat_interleave(self.channels // self.spec.groups, 0)
        return weights.reshape(self.channels, 1, *[self.spec.kernel] * ndim)
