"""Transformer encoder and decoder layers with any mixer, also for step-by-step decoding.

If self-attention is None ("w/o") its whole sub-layer is absent.

Shapes: b batch, s source tokens, t target tokens, c width.

Source: Zhu et al. 2019, https://arxiv.org/abs/1904.05873, figure 2 (b) and (c).
"""

from dataclasses import dataclass
from typing import Any, Literal

from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from quatrain.nn.attention_state import KeyValueState
from quatrain.nn.generalized_attention import AttentionSpec, GeneralizedAttention
from quatrain.nn.layers import Dropout
from quatrain.nn.mixers import Mixer, MixerState

Norm = Literal["pre", "post"]
Padding = Bool[Tensor, "b s"] | None
"""True at padding of the source."""


@dataclass(frozen=True)
class LayerState:
    """Decoding state of a decoder layer: its mixer's, and the source's keys and values.

    Several consecutive rows of the mixer's state may share a row of the memory: the hypotheses of
    one source.
    """

    mixer: MixerState | None
    memory: KeyValueState

    def select(self, sources: Int[Tensor, " n"], rows: Int[Tensor, " m"]) -> "LayerState":
        """The state of the chosen rows of the memory, and of the mixer's state."""
        return LayerState(self.reorder(rows).mixer, self.memory.select(sources))

    def reorder(self, rows: Int[Tensor, " b"]) -> "LayerState":
        """The state after replacing each row by another of the same source."""
        return LayerState(None if self.mixer is None else self.mixer.select(rows), self.memory)


class Residual(nn.Module):
    """x + dropout(f(norm(x))) ("pre" norm), or norm(x + dropout(f(x))) ("post" norm).

    A sub-layer that does not read x (`reads` is False) has no norm before it, since that norm would
    get no gradient.

    Source: Vaswani et al. 2017, https://arxiv.org/abs/1706.03762, section 5.4 (norm after);
        Xiong et al. 2020, https://arxiv.org/abs/2002.04745 (norm before).
    """

    def __init__(self, width: int, dropout: float, norm: Norm, *, reads: bool = True) -> None:
        super().__init__()
        self.norm: nn.LayerNorm | nn.Identity = (
            nn.LayerNorm(width) if reads or norm == "post" else nn.Identity()
        )
        self.dropout: Dropout = Dropout(dropout)
        self.pre_norm: bool = norm == "pre"

    def prepare(self, x: Float[Tensor, "b t c"]) -> Float[Tensor, "b t c"]:
        """The input of the sub-layer."""
        return self.norm(x) if self.pre_norm else x

    def add(self, x: Float[Tensor, "b t c"], y: Float[Tensor, "b t c"]) -> Float[Tensor, "b t c"]:
        """Add the output `y` of the sub-layer to the residual stream `x`."""
        total = x + self.dropout(y)
        return total if self.pre_norm else self.norm(total)


class FeedForward(nn.Module):
    """Two linear layers with a ReLU between them, as a residual sub-layer.

    Source: Vaswani et al. 2017, https://arxiv.org/abs/1706.03762, equation 2.
    """

    def __init__(self, width: int, hidden: int, dropout: float, norm: Norm) -> None:
        super().__init__()
        self.residual: Residual = Residual(width, dropout, norm)
        self.expand: nn.Linear = nn.Linear(width, hidden)
        self.dropout: Dropout = Dropout(dropout)
        self.contract: nn.Linear = nn.Linear(hidden, width)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Glorot initialization of weights; zero biases."""
        for layer in (self.expand, self.contract):
            nn.init.xavier_uniform_(layer.weight)
            nn.init.zeros_(layer.bias)

    def forward(self, x: Float[Tensor, "b t c"]) -> Float[Tensor, "b t c"]:
        """Transform each position separately."""
        hidden = self.dropout(self.expand(self.residual.prepare(x)).relu())
        return self.residual.add(x, self.contract(hidden))


class MixerSublayer(nn.Module):
    """A mixer as a residual sub-layer."""

    def __init__(self, width: int, dropout: float, norm: Norm, mixer: Mixer) -> None:
        super().__init__()
        self.mixer: Any = mixer.build(width, ndim=1)
        self.residual: Residual = Residual(width, dropout, norm)

    def forward(
        self,
        x: Float[Tensor, "b t c"],
        *,
        causal: bool = False,
        padding: Bool[Tensor, "b t"] | None = None,
    ) -> Float[Tensor, "b t c"]:
        """Process all positions at once; `padding` is True at padding."""
        y = self.mixer(self.residual.prepare(x), causal=causal, key_padding_mask=padding)
        return self.residual.add(x, y)

    def step(
        self, x: Float[Tensor, "b 1 c"], state: MixerState | None
    ) -> tuple[Float[Tensor, "b 1 c"], MixerState]:
        """Decode the next token."""
        y, next_state = self.mixer.step(self.residual.prepare(x), state)
        return self.residual.add(x, y), next_state


class CrossAttentionSublayer(nn.Module):
    """Attention to the source, as a residual sub-layer."""

    def __init__(self, width: int, dropout: float, norm: Norm, mixer: AttentionSpec) -> None:
        super().__init__()
        self.mixer: GeneralizedAttention = mixer.build(width, ndim=1)
        self.residual: Residual = Residual(width, dropout, norm, reads=mixer.reads_query)

    def forward(
        self, x: Float[Tensor, "b t c"], memory: Float[Tensor, "b s c"], padding: Padding
    ) -> Float[Tensor, "b t c"]:
        """Attend from all positions at once."""
        y = self.mixer(self.residual.prepare(x), memory, key_padding_mask=padding)
        return self.residual.add(x, y)

    def step(
        self, x: Float[Tensor, "bn 1 c"], memory: KeyValueState, position: int, padding: Padding
    ) -> Float[Tensor, "bn 1 c"]:
        """Attend from the token at `position` only."""
        y = self.mixer.attend_cached(self.residual.prepare(x), memory, position, padding)
        return self.residual.add(x, y)


class EncoderLayer(nn.Module):
    """Self-attention, then feed-forward."""

    def __init__(
        self, width: int, hidden: int, dropout: float, norm: Norm, mixer: Mixer | None
    ) -> None:
        super().__init__()
        self.self_attention: MixerSublayer | None = (
            None if mixer is None else MixerSublayer(width, dropout, norm, mixer)
        )
        self.feed_forward: FeedForward = FeedForward(width, hidden, dropout, norm)

    def forward(self, x: Float[Tensor, "b s c"], padding: Padding) -> Float[Tensor, "b s c"]:
        """Encode the source."""
        if self.self_attention is not None:
            x = self.self_attention(x, padding=padding)
        return self.feed_forward(x)


class DecoderLayer(nn.Module):
    """Causal self-attention, attention to the source, then feed-forward."""

    def __init__(
        self,
        width: int,
        hidden: int,
        dropout: float,
        norm: Norm,
        mixer: Mixer | None,
        cross: AttentionSpec,
    ) -> None:
        super().__init__()
        self.self_attention: MixerSublayer | None = (
            None if mixer is None else MixerSublayer(width, dropout, norm, mixer)
        )
        self.cross_attention: CrossAttentionSublayer = CrossAttentionSublayer(
            width, dropout, norm, cross
        )
        self.feed_forward: FeedForward = FeedForward(width, hidden, dropout, norm)

    def forward(
        self, x: Float[Tensor, "b t c"], memory: Float[Tensor, "b s c"], padding: Padding
    ) -> Float[Tensor, "b t c"]:
        """Decode all positions at once; `padding` is True at source padding."""
        if self.self_attention is not None:
            x = self.self_attention(x, causal=True)
        return self.feed_forward(self.cross_attention(x, memory, padding))

    def start(self, memory: Float[Tensor, "b s c"]) -> LayerState:
        """The state before the first token."""
        return LayerState(None, self.cross_attention.mixer.cache_keys(memory))

    def step(
        self, x: Float[Tensor, "bn 1 c"], state: LayerState, position: int, padding: Padding
    ) -> tuple[Float[Tensor, "bn 1 c"], LayerState]:
        """Decode the token at `position` only."""
        mixer_state = state.mixer
        if self.self_attention is not None:
            x, mixer_state = self.self_attention.step(x, mixer_state)
        x = self.cross_attention.step(x, state.memory, position, padding)
        return self.feed_forward(x), LayerState(mixer_state, state.memory)
