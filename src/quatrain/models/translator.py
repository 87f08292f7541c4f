"""Translator: an encoder-decoder Transformer with a choice of mixer for each kind of attention.

    spec = TranslatorSpec(width=128, layers=4, feed_forward=256, cross=AttentionSpec(terms="1000"))
    translator = spec.build(vocabulary=8000)
    logits = translator(source, target)                  # (B, S) and (B, T) tokens -> (B, T, 8000)

Positions are encoded by the relative terms of the attention only; there is no absolute encoding.

Shapes: b batch, s source tokens, t target tokens, c width, v vocabulary.
"""

import itertools
from dataclasses import dataclass, replace
from typing import ClassVar, cast

import torch
from jaxtyping import Bool, Float, Int
from pydantic import Field, model_validator
from torch import Tensor, nn
from torch.nn.functional import linear

from quatrain.nn.attended import AttendedSpec
from quatrain.nn.generalized_attention import AttentionSpec
from quatrain.nn.layers import Dropout
from quatrain.nn.mixers import Mixer
from quatrain.nn.parameters import initialize_by_name
from quatrain.nn.transformer import DecoderLayer, EncoderLayer, LayerState, Norm
from quatrain.specs import Spec, SpecError
from quatrain.weights import SavedModule

PADDING = 0
"""The token that pads sentences to the longest of their batch."""


class TranslatorSpec(Spec):
    """An encoder-decoder Transformer; the defaults are the "base" size.

    Source: Zhu et al. 2019, https://arxiv.org/abs/1904.05873, section 4.1; sizes from Vaswani et
        al. 2017, https://arxiv.org/abs/1706.03762, table 3.
    """

    revision: ClassVar[int] = 2

    width: int = Field(default=512, ge=1)
    """Channels of every layer and of the embeddings."""
    layers: int = Field(default=6, ge=1)
    """Layers of the encoder, and of the decoder."""
    feed_forward: int = Field(default=2048, ge=1)
    """Hidden channels of the feed-forward sub-layers."""
    dropout: float = Field(default=0.1, ge=0, lt=1)
    """On embeddings, sub-layer outputs and hidden feed-forward channels; not on weights."""
    norm: Norm = "post"
    """Layer norm after the residual sum ("post") or before the sub-layer ("pre")."""
    encoder_self: Mixer | None = AttentionSpec()
    """Self-attention of the encoder; None leaves it out ("w/o")."""
    decoder_self: Mixer | None = AttentionSpec()
    """Causal self-attention of the decoder; None leaves it out ("w/o")."""
    cross: AttentionSpec = AttentionSpec()
    """Encoder-decoder attention."""

    @model_validator(mode="after")
    def _check_strides(self) -> "TranslatorSpec":
        for field in ("encoder_self", "decoder_self", "cross"):
            mixer = getattr(self, field)
            combined = isinstance(mixer, AttendedSpec)
            parts = (mixer.convolution, mixer.attention) if combined else (mixer,)
            names = ("stride",) if field == "encoder_self" else ("stride", "key_stride")
            for part, name in itertools.product(parts, names):
                if getattr(part, name, 1) > 1:
                    text = f"{field} has {name}={getattr(part, name)}"
                    raise SpecError(f"{text}; a translator needs {name}=1", name)
        return self

    def build(self, vocabulary: int) -> "Translator":
        """Create the network, with initial weights from torch's random state."""
        return Translator(self, vocabulary)


@dataclass(frozen=True)
class DecodingState:
    """Decoding state of a translator, for `beam` rows (hypotheses) per source.

    The rows of a source share its encoder output.
    """

    layers: tuple[LayerState, ...]
    padding: Bool[Tensor, "b s"]
    position: int
    beam: int = 1

    def expand(self, beam: int) -> "DecodingState":
        """The state with `beam` rows per source; before the first token only."""
        return replace(self, beam=beam)

    def select(self, sources: Int[Tensor, " n"]) -> "DecodingState":
        """The state of the chosen sources, in that order, with all of their rows."""
        offsets = torch.arange(self.beam, device=sources.device)
        rows = (sources[:, None] * self.beam + offsets).flatten()
        layers = tuple(layer.select(sources, rows) for layer in self.layers)
        return replace(self, layers=layers, padding=self.padding[sources])

    def reorder(self, rows: Int[Tensor, " b"]) -> "DecodingState":
        """The state after replacing each row by another of the same source."""
        return replace(self, layers=tuple(layer.reorder(rows) for layer in self.layers))


class Translator(SavedModule):
    """Encoder, decoder and one embedding for source, target and output.

    Source: Vaswani et al. 2017, https://arxiv.org/abs/1706.03762, section 3; embeddings tied as
        Press and Wolf 2017, https://arxiv.org/abs/1608.05859.
    """

    spec_class: ClassVar[type[Spec]] = TranslatorSpec
    spec: TranslatorSpec

    def __init__(self, spec: TranslatorSpec, vocabulary: int) -> None:
        super().__init__()
        seed = int(torch.randint(2**62, (), device="cpu"))
        self.spec = spec
        self.vocabulary = vocabulary
        shape = (spec.width, spec.feed_forward, spec.dropout, spec.norm)
        self.embedding: nn.Embedding = nn.Embedding(vocabulary, spec.width, padding_idx=PADDING)
        self.dropout: Dropout = Dropout(spec.dropout)
        self.encoder: nn.ModuleList = nn.ModuleList(
            EncoderLayer(*shape, spec.encoder_self) for _ in range(spec.layers)
        )
        self.decoder: nn.ModuleList = nn.ModuleList(
            DecoderLayer(*shape, spec.decoder_self, spec.cross) for _ in range(spec.layers)
        )

        def final_norm() -> nn.LayerNorm | nn.Identity:
            return nn.LayerNorm(spec.width) if spec.norm == "pre" else nn.Identity()

        self.encoder_norm: nn.LayerNorm | nn.Identity = final_norm()
        self.decoder_norm: nn.LayerNorm | nn.Identity = final_norm()
        initialize_by_name(self, seed)

    def _build_arguments(self) -> dict[str, int]:
        return {"vocabulary": self.vocabulary}

    def reset_parameters(self) -> None:
        """Draw the embeddings; each layer draws its weights itself."""
        nn.init.normal_(self.embedding.weight, std=self.spec.width**-0.5)
        nn.init.zeros_(self.embedding.weight[PADDING])

    def forward(
        self, source: Int[Tensor, "b s"], target: Int[Tensor, "b t"]
    ) -> Float[Tensor, "b t v"]:
        """Logits of the token after each target token."""
        return self.project(self.hidden(source, target))

    def hidden(
        self, source: Int[Tensor, "b s"], target: Int[Tensor, "b t"]
    ) -> Float[Tensor, "b t c"]:
        """The decoder's output at each target token, before the projection to logits."""
        memory, padding = self.encode(source)
        x = self.embed(target)
        for layer in self.decoder:
            x = layer(x, memory, padding)
        return self.decoder_norm(x)

    def embed(self, tokens: Int[Tensor, "b t"]) -> Float[Tensor, "b t c"]:
        """Scaled embeddings, with dropout."""
        return self.dropout(self.embedding(tokens) * self.spec.width**0.5)

    def project(self, hidden: Float[Tensor, "*b c"]) -> Float[Tensor, "*b v"]:
        """Logits over the vocabulary, by the tied embedding."""
        return linear(hidden, self.embedding.weight)

    def encode(
        self, source: Int[Tensor, "b s"]
    ) -> tuple[Float[Tensor, "b s c"], Bool[Tensor, "b s"]]:
        """The encoded source, and its padding mask."""
        padding = source == PADDING
        x = self.embed(source)
        for layer in self.encoder:
            x = layer(x, padding)
        return self.encoder_norm(x), padding

    def start(self, source: Int[Tensor, "b s"]) -> DecodingState:
        """Encode `source` and prepare to decode its first target token."""
        memory, padding = self.encode(source)
        layers = tuple(layer.start(memory) for layer in self._decoder_layers())
        return DecodingState(layers, padding, position=0)

    def step(
        self, tokens: Int[Tensor, " bn"], state: DecodingState
    ) -> tuple[Float[Tensor, "bn v"], DecodingState]:
        """Logits of the token after `tokens`, one for each row at the state's position."""
        x = self.embed(tokens[:, None])
        layers = []
        for layer, layer_state in zip(self._decoder_layers(), state.layers, strict=True):
            x, next_state = layer.step(x, layer_state, state.position, state.padding)
            layers.append(next_state)
        logits = self.project(self.decoder_norm(x))[:, 0]
        return logits, replace(state, layers=tuple(layers), position=state.position + 1)

    def _decoder_layers(self) -> list[DecoderLayer]:
        return cast("list[DecoderLayer]", list(self.decoder))
