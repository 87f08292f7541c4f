"""Attention over the output of a convolution: the paper's combined forms, "0010+deformable".

    Attended(256, attention=AttentionSpec(terms="0010"))    # maps: conv(x) + gamma * attn(conv(x))
    Attended(512, ndim=1)                                   # sequences: conv(x) + attn(conv(x))

The residual connection around the whole belongs to the surrounding block.

Shapes: b batch, t tokens, c channels.
"""

from dataclasses import dataclass
from typing import Annotated, Literal

import torch
from jaxtyping import Bool, Float, Int
from pydantic import Field
from torch import Tensor, nn

from quatrain.nn.attention_state import KeyValueState, RunningState
from quatrain.nn.convolution import InputState, RegularConv, RegularConvSpec
from quatrain.nn.deformable_conv import DeformableConv, DeformableConvSpec
from quatrain.nn.generalized_attention import AttentionSpec, GeneralizedAttention
from quatrain.nn.mixer_module import MixerModule, MixerSpec
from quatrain.specs import Spec


class AttendedSpec(Spec, MixerSpec["Attended"]):
    """A convolution, followed by attention over its output.

    Source: Zhu et al. 2019, https://arxiv.org/abs/1904.05873, figure 2 (a) and (c).
    """

    kind: Literal["attended"] = "attended"
    convolution: Annotated[RegularConvSpec | DeformableConvSpec, Field(discriminator="kind")] = (
        DeformableConvSpec()
    )
    """The convolution, which comes first."""
    attention: AttentionSpec = AttentionSpec()
    """The attention, which reads the convolution's output and is added to it."""
    gated: bool | None = None
    """Scale the attention by a learned gamma, zero at first; None for yes on maps only."""


@dataclass(frozen=True)
class AttendedState:
    """Decoding state: that of the convolution and that of the attention."""

    convolution: InputState
    attention: KeyValueState | RunningState

    def select(self, rows: Int[Tensor, " n"]) -> "AttendedState":
        """The state of the chosen batch rows, in that order."""
        return AttendedState(self.convolution.select(rows), self.attention.select(rows))


class Attended(MixerModule, spec=AttendedSpec):
    """d + attention(d), or d + gamma * attention(d), where d = convolution(x).

    Hyper-parameters: `AttendedSpec`.

    Source: Zhu et al. 2019, https://arxiv.org/abs/1904.05873, figure 2 (a) and (c); gamma as Wang
        et al. 2018, https://arxiv.org/abs/1711.07971, section 4.1.
    """

    spec: AttendedSpec

    def _create_parameters(self) -> None:
        spec = self.spec
        self.convolution: DeformableConv | RegularConv = spec.convolution.build(
            self.channels, self.ndim
        )
        self.attention: GeneralizedAttention = spec.attention.build(self.channels, self.ndim)
        gated = self.ndim == 2 if spec.gated is None else spec.gated
        self.gamma: nn.Parameter | None = nn.Parameter(torch.zeros(())) if gated else None

    def forward(
        self,
        x: Float[Tensor, "*shape"],
        *,
        causal: bool = False,
        key_padding_mask: Bool[Tensor, "b t"] | None = None,
    ) -> Float[Tensor, "*strided"]:
        """Convolve (B, T, C) or (N, C, H, W), and attend.

        Args:
            x: the input.
            causal: whether an output depends only on positions at or before its own (sequences).
            key_padding_mask: True at padding; (B, T) or (N, H * W).

        Raises:
            InputError: if a shape or mask does not fit.
        """
        convolved = self.convolution(x, causal=causal, key_padding_mask=key_padding_mask)
        attended = self.attention(convolved, causal=causal, key_padding_mask=key_padding_mask)
        return convolved + self._scale(attended)

    def step(
        self, x: Float[Tensor, "b 1 c"], state: AttendedState | None
    ) -> tuple[Float[Tensor, "b 1 c"], AttendedState]:
        """Decode one token of the causal form: its output, and the next state."""
        inputs, keys = (None, None) if state is None else (state.convolution, state.attention)
        convolved, inputs = self.convolution.step(x, inputs)
        attended, keys = self.attention.step(convolved, keys)
        return convolved + self._scale(attended), AttendedState(inputs, keys)

    def _scale(self, attended: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        return attended if self.gamma is None else self.gamma * attended
