"""Regular convolution, and the base classes, decoding state and checks of all convolutions.

    RegularConv(256, kernel=3)              # maps, (N, C, H, W)
    RegularConv(512, kernel=3, ndim=1)      # sequences, (B, T, C)

Shapes: b batch, t tokens, s tokens with the zeros around them, c channels.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.fx import Proxy
from torch.nn.functional import conv1d, conv2d, pad

from quatrain.nn.checks import Count, KernelWidth, check_stepwise
from quatrain.nn.mixer_module import MixerModule, MixerSpec
from quatrain.nn.tokens import check_layout
from quatrain.nn.tracing import record_call
from quatrain.specs import InputError, Spec


class ConvSpec(Spec):
    """The sampling grid of a convolution.

    Source: Zhu et al. 2019, https://arxiv.org/abs/1904.05873, equation 3 (p_m).
    """

    kernel: KernelWidth = 3
    """Odd width of the kernel, per axis."""
    stride: Count = 1
    """Distance between neighbouring outputs, per axis."""
    dilation: Count = 1
    """Distance between neighbouring taps."""
    groups: Count = 1
    """Groups of channels that are convolved separately."""
    bias: bool = False
    """Whether a learned bias is added to each channel."""

    divisors: ClassVar[tuple[str, ...]] = ("groups",)

    @property
    def padding(self) -> int:
        """Zeros before and after each axis, so that a stride of 1 keeps the size."""
        return self.dilation * (self.kernel - 1) // 2


@dataclass(frozen=True)
class InputState:
    """Decoding state of a convolution: its inputs so far."""

    inputs: Float[Tensor, "b t c"]

    @classmethod
    def empty(cls, like: Float[Tensor, "b 1 c"], length: int = 0) -> "InputState":
        """The state before the first token: `length` zeros."""
        return cls(like.new_zeros(like.shape[0], length, like.shape[2]))

    def select(self, rows: Int[Tensor, " n"]) -> "InputState":
        """The state of the chosen batch rows, in that order."""
        return InputState(self.inputs[rows])

    def append(self, x: Float[Tensor, "b 1 c"]) -> "InputState":
        """These inputs and then `x`."""
        return InputState(torch.cat((self.inputs, x), dim=1))

    def last(self, length: int) -> "InputState":
        """The last `length` inputs only."""
        return InputState(self.inputs[:, self.inputs.shape[1] - length :])


class Convolution(MixerModule, ABC):
    """Base of the mixers that read their own input: a sequence or a map.

    Source: Zhu et al. 2019, https://arxiv.org/abs/1904.05873, equation 1.
    """

    def forward(
        self,
        x: Float[Tensor, "*shape"],
        *,
        causal: bool = False,
        key_padding_mask: Bool[Tensor, "b t"] | None = None,
    ) -> Float[Tensor, "*strided"]:
        """Convolve (B, T, C) or (N, C, H, W).

        Args:
            x: the input.
            causal: whether an output depends only on positions at or before its own (sequences).
            key_padding_mask: True at padding, which is read as zero; (B, T) or (N, H * W).

        Raises:
            InputError: if a shape or mask does not fit.
        """
        if isinstance(x, Proxy):
            return record_call(self, x, causal=causal, key_padding_mask=key_padding_mask)
        check_input(x, self.channels, self.ndim, causal=causal)
        return self._convolve(x, key_padding_mask, causal=causal)

    @abstractmethod
    def _convolve(
        self, x: Float[Tensor, "*shape"], mask: Bool[Tensor, "b t"] | None, *, causal: bool
    ) -> Float[Tensor, "*strided"]:
        """Convolve an input that has been checked; `mask` is True at padding."""


class KernelConvolution(Convolution):
    """Base of the convolutions with one weight matrix per tap: regular and deformable.

    Source: Zhu et al. 2019, https://arxiv.org/abs/1904.05873, equations 3 and 4.
    """

    spec: Any  # a ConvSpec that builds modules

    def _create_parameters(self) -> None:
        spec, channels = self.spec, self.channels
        kernel = [spec.kernel] * self.ndim
        self.weight: nn.Parameter = nn.Parameter(
            torch.empty(channels, channels // spec.groups, *kernel)
        )
        self.bias: nn.Parameter | None = nn.Parameter(torch.empty(channels)) if spec.bias else None

    def reset_parameters(self) -> None:
        """Draw weights of variance 1 / inputs; set biases to zero."""
        nn.init.kaiming_uniform_(self.weight, a=1)
        if self.bias is not None:
            nn.init.zeros_(self.bias)


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
        self, x: Float[Tensor, "*shape"], mask: Bool[Tensor, "b t"] | None, *, causal: bool
    ) -> Float[Tensor, "*strided"]:
        x, spec = zero_padding(x, mask), self.spec
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


def check_input(x: Tensor, channels: int, ndim: int, *, causal: bool) -> None:
    """Check the layout and channels of an input, that it is not empty, and `causal`."""
    check_layout(x, "input", channels, ndim)
    if 0 in x.shape[1:]:
        raise InputError(f"input of shape {tuple(x.shape)} has no positions", "input")
    if causal and ndim == 2:
        raise InputError("causal=True is for sequences (ndim=1), and this is a map", "causal")


def zero_padding(
    x: Float[Tensor, "*shape"], key_padding_mask: Bool[Tensor, "b t"] | None
) -> Float[Tensor, "*shape"]:
    """The input with zeros at padding; the mask is (B, T) for sequences, (N, H * W) for maps."""
    if key_padding_mask is None:
        return x
    sequence = x.ndim == 3
    shape = (x.shape[0], x.shape[1] if sequence else x.shape[2] * x.shape[3])
    if key_padding_mask.dtype != torch.bool or tuple(key_padding_mask.shape) != shape:
        text = f"key_padding_mask is {key_padding_mask.dtype} {tuple(key_padding_mask.shape)}"
        raise InputError(f"{text}; pass torch.bool {shape}, True at padding", "key_padding_mask")
    mask = key_padding_mask[:, :, None] if sequence else key_padding_mask.view(-1, 1, *x.shape[2:])
    return x.masked_fill(mask, 0.0)


def pad_sequence(x: Float[Tensor, "b t c"], zeros: int, *, causal: bool) -> Float[Tensor, "b s c"]:
    """Add `zeros` before the sequence if `causal`, else half of them on either side."""
    before = zeros if causal else zeros // 2
    return pad(x, (0, 0, before, zeros - before))
