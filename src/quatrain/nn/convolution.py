"""What the convolutions share: where taps lie, what decoding remembers, what inputs must be.

Shapes: b batch, t tokens, s tokens and the zeros around them, c channels.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from pydantic import field_validator
from torch import Tensor, nn
from torch.fx import Proxy
from torch.nn.functional import pad

from quatrain.nn.checks import Count, Width, check_channels, check_divides
from quatrain.nn.scripting import refuse_scripting
from quatrain.nn.tracing import record_call
from quatrain.specs import InputError, Spec, SpecError


def check_odd(name: str, width: int) -> int:
    """The width, if it has a middle.

    Raises:
        SpecError: if it is even.
    """
    if width % 2 == 0:
        raise SpecError(name, width, "an odd number", f"use {width - 1} or {width + 1}")
    return width


class ConvSpec(Spec):
    """Where the taps of a convolution lie.

    Source: Zhu et al. 2019, https://arxiv.org/abs/1904.05873, equation 3 (p_m).
    """

    kernel: Width = 3
    """Odd width of the kernel, per axis."""
    stride: Count = 1
    """Every how many positions there is an output, per axis."""
    dilation: Count = 1
    """Distance between neighbouring taps."""
    groups: Count = 1
    """Groups of channels that are not mixed with each other."""
    bias: bool = False
    """Whether a learned number is added to each channel."""

    @field_validator("kernel")
    @classmethod
    def _kernel_has_a_middle(cls, kernel: int) -> int:
        return check_odd("kernel", kernel)

    @property
    def padding(self) -> int:
        """Zeros before and after each axis, so that a stride of 1 keeps its size."""
        return self.dilation * (self.kernel - 1) // 2


@dataclass(frozen=True)
class InputState:
    """What step-by-step decoding of a convolution remembers: its inputs so far."""

    inputs: Float[Tensor, "b t c"]

    @classmethod
    def empty(cls, like: Float[Tensor, "b 1 c"], length: int = 0) -> "InputState":
        """The state before the first token: `length` zeros, or nothing."""
        return cls(like.new_zeros(like.shape[0], length, like.shape[2]))

    def select(self, rows: Int[Tensor, " n"]) -> "InputState":
        """The state of the chosen batch rows, in that order."""
        return InputState(self.inputs[rows])

    def extended(self, x: Float[Tensor, "b 1 c"]) -> "InputState":
        """These inputs and then `x`."""
        return InputState(torch.cat((self.inputs, x), dim=1))

    def last(self, length: int) -> "InputState":
        """The last `length` inputs only."""
        return InputState(self.inputs[:, self.inputs.shape[1] - length :])


class Convolution(nn.Module, ABC):
    """What mixes its own input, a sequence or a map; how is the subclass's to say.

    Source: Zhu et al. 2019, https://arxiv.org/abs/1904.05873, equation 1.
    """

    __prepare_scriptable__ = refuse_scripting

    def __init__(self, channels: int, ndim: int, groups: int) -> None:
        super().__init__()
        check_ndim(ndim)
        check_channels("channels", channels)
        check_divides("groups", groups, channels)
        self.channels, self.ndim = channels, ndim

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
        if isinstance(x, Proxy):
            return record_call(self, x, causal=causal, key_padding_mask=key_padding_mask)
        check_input(x, self.channels, self.ndim, causal=causal)
        return self._convolve(x, key_padding_mask, causal=causal)

    @abstractmethod
    def _convolve(
        self,
        x: Float[Tensor, "*shape"],
        key_padding_mask: Bool[Tensor, "b t"] | None,
        *,
        causal: bool,
    ) -> Float[Tensor, "*reached"]:
        """The same, of an input that fits."""


def refuse_keys(channels: int, key_channels: int | None) -> None:
    """Refuse keys from elsewhere: a convolution reads its own input.

    Raises:
        SpecError: if the keys have a width of their own.
    """
    if key_channels not in (None, channels):
        expected = f"{channels}, the channels of the queries"
        raise SpecError("key_channels", key_channels, expected, "attend to other keys by attention")


def check_ndim(ndim: int) -> None:
    """Refuse anything but sequences and maps.

    Raises:
        SpecError: if there are not 1 or 2 axes.
    """
    if ndim not in (1, 2):
        raise SpecError("ndim", ndim, "1 (sequences) or 2 (maps)", "choose one of them")


def check_input(x: Tensor, channels: int, ndim: int, *, causal: bool) -> None:
    """Refuse an input of another layout, an empty one, and order on a map.

    Raises:
        InputError: if it does not fit.
    """
    axis = 2 if ndim == 1 else 1
    if x.ndim != ndim + 2 or x.shape[axis] != channels or 0 in x.shape[1:]:
        layout = f"(B, T, {channels})" if ndim == 1 else f"(N, {channels}, H, W)"
        remedy = f"this convolution was built with channels={channels}, ndim={ndim}"
        raise InputError("input", tuple(x.shape), f"{layout}, not empty", remedy)
    if causal and ndim == 2:
        raise InputError(
            "causal", True, "False on a map", "order exists on sequences (ndim=1) only"
        )


def without_padding(
    x: Float[Tensor, "*shape"], key_padding_mask: Bool[Tensor, "b t"] | None
) -> Float[Tensor, "*shape"]:
    """The input, reading zero at padding: (B, T) for sequences, (N, H * W) for maps.

    Raises:
        InputError: if the mask does not fit.
    """
    if key_padding_mask is None:
        return x
    sequence = x.ndim == 3
    expected = (x.shape[0], x.shape[1] if sequence else x.shape[2] * x.shape[3])
    if key_padding_mask.dtype != torch.bool or tuple(key_padding_mask.shape) != expected:
        found = f"{key_padding_mask.dtype} of shape {tuple(key_padding_mask.shape)}"
        remedy = "pass True at padding"
        raise InputError("key_padding_mask", found, f"booleans of shape {expected}", remedy)
    mask = key_padding_mask[:, :, None] if sequence else key_padding_mask.view(-1, 1, *x.shape[2:])
    return x.masked_fill(mask, 0.0)


def surround(x: Float[Tensor, "b t c"], reach: int, *, causal: bool) -> Float[Tensor, "b s c"]:
    """`reach` zeros before the sequence if `causal`, half of them on either side if not."""
    before = reach if causal else reach // 2
    return pad(x, (0, 0, before, reach - before))


def check_stepwise(ndim: int, stride: int = 1) -> None:
    """Refuse to decode maps, and convolutions that skip positions.

    Raises:
        SpecError: if there is no next token.
    """
    if ndim != 1 or stride > 1:
        found = f"{ndim} and stride {stride}"
        raise SpecError("ndim", found, "1 and 1", "decode step by step on whole sequences only")
