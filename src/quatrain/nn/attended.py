"""A convolution and attention over what it gives: the paper's combined forms, "0010+deformable".

    attended = AttendedSpec(convolution=DeformableConvSpec(), attention=AttentionSpec(terms="0010"))
    block = attended.build(channels=256)            # maps: conv(x) + gamma * attention(conv(x))
    block = attended.build(channels=512, ndim=1)    # sequences: conv(x) + attention(conv(x))

This is the only place where they meet. The residual around both belongs to the block around it.

Shapes: b batch, t tokens, c channels.
"""

from dataclasses import dataclass
from typing import Annotated, Literal

from jaxtyping import Bool, Float, Int
from pydantic import Field
from torch import Tensor, nn

from quatrain.nn.attention_state import KeyValueState, RunningState
from quatrain.nn.convolution import InputState, refuse_keys
from quatrain.nn.deformable_conv import DeformableConvSpec
from quatrain.nn.generalized_attention import AttentionSpec
from quatrain.nn.regular_conv import RegularConvSpec
from quatrain.nn.residual import add_branch, zero_gamma
from quatrain.specs import Spec


class AttendedSpec(Spec):
    """A convolution, and attention that reads and refines its output.

    Source: Zhu et al. 2019, https://arxiv.org/abs/1904.05873, figure 2 (a) and (c).
    """

    kind: Literal["attended"] = "attended"
    convolution: Annotated[RegularConvSpec | DeformableConvSpec, Field(discriminator="kind")] = (
        DeformableConvSpec()
    )
    """What comes first."""
    attention: AttentionSpec = AttentionSpec()
    """What is added to it, and reads it."""
    gated: bool | None = None
    """Multiply the attention by a learned number, zero at first; None for yes on maps only."""

    def build(self, channels: int, ndim: int = 2, key_channels: int | None = None) -> "Attended":
        """The module, for maps (2) or sequences (1) of `channels`."""
        refuse_keys(channels, key_channels)
        return Attended(self, channels, ndim)


@dataclass(frozen=True)
class AttendedState:
    """What step-by-step decoding remembers of both parts."""

    convolution: InputState
    attention: KeyValueState | RunningState

    def select(self, rows: Int[Tensor, " n"]) -> "AttendedState":
        """The state of the chosen batch rows, in that order."""
        return AttendedState(self.convolution.select(rows), self.attention.select(rows))


class Attended(nn.Module):
    """d + attention(d), or d + gamma * attention(d), of d = convolution(x).

    Source: Zhu et al. 2019, https://arxiv.org/abs/1904.05873, figure 2 (a) and (c); gamma as Wang
        et al. 2018, https://arxiv.org/abs/1711.07971, section 4.1.
    """

    def __init__(self, spec: AttendedSpec, channels: int, ndim: int = 2) -> None:
        super().__init__()
        self.spec, self.ndim = spec, ndim
        self.convolution = spec.convolution.build(channels, ndim)
        self.attention = spec.attention.build(channels, ndim)
        gated = ndim == 2 if spec.gated is None else spec.gated
        self.gamma = zero_gamma() if gated else None

    def forward(
        self,
        x: Float[Tensor, "*shape"],
        *,
        causal: bool = False,
        key_padding_mask: Bool[Tensor, "b t"] | None = None,
    ) -> Float[Tensor, "*reached"]:
        """Convolve (B, T, C) or (N, C, H, W), and attend.

        Args:
            x: the input.
            causal: whether an output sees only positions at or before its own (sequences).
            key_padding_mask: True at padding; (B, T) or (N, H * W).

        Raises:
            InputError: if a shape or mask does not fit.
        """
        convolved = self.convolution(x, causal=causal, key_padding_mask=key_padding_mask)
        attended = self.attention(convolved, causal=causal, key_padding_mask=key_padding_mask)
        return add_branch(convolved, attended, self.gamma)

    def step(
        self, x: Float[Tensor, "b 1 c"], state: AttendedState | None
    ) -> tuple[Float[Tensor, "b 1 c"], AttendedState]:
        """One token of the causal form: its output, and the next state."""
        past, seen = (None, None) if state is None else (state.convolution, state.attention)
        convolved, past = self.convolution.step(x, past)
        attended, seen = self.attention.step(convolved, seen)
        return add_branch(convolved, attended, self.gamma), AttendedState(past, seen)
