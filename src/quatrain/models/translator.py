"""The translator: an encoder-decoder Transformer with a mixer chosen for each kind of attention.

    spec = TranslatorSpec(width=128, layers=4, feed_forward=256, cross=AttentionSpec(terms="1000"))
    translator = spec.build(vocabulary=8000)
    logits = translator(source, target)                  # (B, S) and (B, T) tokens -> (B, T, 8000)

Positions enter only through the relative terms of the attention; there is no absolute encoding.

Shapes: b batch, s source tokens, t target tokens, c width, v vocabulary.
"""

from dataclasses import dataclass, replace
from typing import ClassVar, cast

import torch
from jaxtyping import Bool, Float, Int
from pydantic import Field, model_validator
from torch import Tensor, nn
from torch.nn.functional import linear

from quatrain.nn.attended import AttendedSpec
from quatrain.nn.dropout import Dropout
from quatrain.nn.generalized_attention import AttentionSpec
from quatrain.nn.initialization import initialize_by_name
from quatrain.nn.mixers import Mixer
from quatrain.nn.transformer import DecoderLayer, EncoderLayer, LayerState, Norm
from quatrain.specs import Spec, SpecError

PADDING = 0
"""The token that fills rows up to the width of their batch."""


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
    """On embeddings, sub-layer outputs and hidden feed-forward channels; never on weights."""
    norm: Norm = "post"
    """Layer norm after the residual sum ("post") or before the sub-layer ("pre")."""
    encoder_self: Mixer | None = AttentionSpec()
    """Self-attention of the encoder; None leaves it out ("w/o")."""
    decoder_self: Mixer | None = AttentionSpec()
    """Causal self-attention of the decoder; None leaves it out ("w/o")."""
    cross: AttentionSpec = AttentionSpec()
    """Encoder-decoder attention."""

    @model_validator(mode="after")
    def _keeps_every_token(self) -> "TranslatorSpec":
        for name, mixer in (("encoder", self.encoder_self), ("decoder", self.decoder_self)):
            attended = isinstance(mixer, AttendedSpec)
            for part in (mixer.convolution, mixer.attention) if attended else (mixer,):
                stride = getattr(part, "stride", 1)
                if stride > 1:
                    raise SpecError("stride", stride, "1 in a translator", "keep every token")
                _check_keys(part, decodes=name == "decoder")
        _check_keys(self.cross, decodes=True)
        return self

    def build(self, vocabulary: int) -> "Translator":
        """The network, with fresh weights from torch's random state."""
        return Translator(self, vocabulary)


def _check_keys(mixer: Mixer | None, *, decodes: bool) -> None:
    stride = getattr(mixer, "key_stride", 1)
    if decodes and stride > 1:
        raise SpecError("key_stride", stride, "1 in a decoder", "every token's key is needed")


@dataclass(frozen=True)
class DecodingState:
    """Everything that decoding one more token needs, for `beam` rows of each source.

    The rows of a source share what is remembered of it.
    """

    layers: tuple[LayerState, ...]
    padding: Bool[Tensor, "b s"] | None
    position: int
    beam: int = 1

    def expand(self, beam: int) -> "DecodingState":
        """The state with so many rows for each of its own; before the first token only."""
        return replace(self, beam=beam)

    def select(self, sources: Int[Tensor, " n"]) -> "DecodingState":
        """The state of the chosen sources, in that order, with all of their rows."""
        within = torch.arange(self.beam, device=sources.device)
        rows = (sources[:, None] * self.beam + within).flatten()
        return replace(
            self,
            layers=tuple(layer.select(sources, rows) for layer in self.layers),
            padding=None if self.padding is None else self.padding[sources],
        )

    def reorder(self, rows: Int[Tensor, " b"]) -> "DecodingState":
        """The state where each row goes on from another row of the same source."""
        return replace(self, layers=tuple(layer.reorder(rows) for layer in self.layers))


class Translator(nn.Module):
    """Encoder, decoder and one embedding for source, target and output.

    Source: Vaswani et al. 2017, https://arxiv.org/abs/1706.03762, section 3; embeddings tied as
        Press and Wolf 2017, https://arxiv.org/abs/1608.05859.
    """

    def __init__(self, spec: TranslatorSpec, vocabulary: int) -> None:
        super().__init__()
        seed = int(torch.randint(2**62, (), device="cpu"))
        self.spec, self.vocabulary = spec, vocabulary
        shape = (spec.width, spec.feed_forward, spec.dropout, spec.norm)
        self.embedding = nn.Embedding(vocabulary, spec.width, padding_idx=PADDING)
        self.dropout = Dropout(spec.dropout)
        self.encoder = nn.ModuleList(
            EncoderLayer(*shape, spec.encoder_self) for _ in range(spec.layers)
        )
        self.decoder = nn.ModuleList(
            DecoderLayer(*shape, spec.decoder_self, spec.cross) for _ in range(spec.layers)
        )
        ends = spec.norm == "pre"
        self.encoder_norm = nn.LayerNorm(spec.width) if ends else nn.Identity()
        self.decoder_norm = nn.LayerNorm(spec.width) if ends else nn.Identity()
        initialize_by_name(self, seed)

    def reset_parameters(self) -> None:
        """Draw the embeddings; everything else draws itself."""
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
        """What the logits are projected from: the decoder's output at each target token."""
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
        """The encoded source, and where it is padding."""
        padding = source == PADDING
        x = self.embed(source)
        for layer in self.encoder:
            x = layer(x, padding)
        return self.encoder_norm(x), padding

    def start(self, source: Int[Tensor, "b s"]) -> DecodingState:
        """Encode `source` and prepare to decode its first target token."""
        memory, padding = self.encode(source)
        return DecodingState(
            tuple(layer.start(memory) for layer in self._decoder_layers()), padding, 0
        )

    def step(
        self, tokens: Int[Tensor, " bn"], state: DecodingState
    ) -> tuple[Float[Tensor, "bn v"], DecodingState]:
        """Logits of the token after `tokens`, one for each row at the state's position."""
        x = self.embed(tokens[:, None])
        layers = []
        for layer, layer_state in zip(self._decoder_layers(), state.layers, strict=True):
            x, after = layer.step(x, layer_state, state.position, state.padding)
            layers.append(after)
        logits = self.project(self.decoder_norm(x))[:, 0]
        return logits, replace(state, layers=tuple(layers), position=state.position + 1)

    def _decoder_layers(self) -> list[DecoderLayer]:
        return cast("list[DecoderLayer]", list(self.decoder))
