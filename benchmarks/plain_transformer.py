"""torch.nn.Transformer as a translator: its training loss and its decoding.

`start` and `step` are the interface of our beam search, so the same search runs on both
translators. They cache the keys and values of every layer, which torch's modules do not.

Shapes: b sentences, s source tokens, t target tokens, c width, v vocabulary.
"""

import math
import warnings
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import cast

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, linear, scaled_dot_product_attention

VOCABULARY, WIDTH, LAYERS, HEADS, FEED_FORWARD, DROPOUT = 8000, 128, 4, 4, 256, 0.3

KeysAndValues = tuple[Tensor, Tensor]


@dataclass(frozen=True)
class PlainState:
    """Cached keys and values of the target and of the source, one pair per layer."""

    past: list[KeysAndValues]
    memory: list[KeysAndValues]
    attended: Bool[Tensor, "b 1 1 s"]
    position: int
    beam: int = 1

    def expand(self, beam: int) -> "PlainState":
        """The state with `beam` copies of each row."""
        copied = torch.arange(len(self.attended)).repeat_interleave(beam)
        return replace(self._select(copied), beam=beam)

    def select(self, sources: Int[Tensor, " n"]) -> "PlainState":
        """The state of the chosen sources, in that order, with all of their rows."""
        return self._select((sources[:, None] * self.beam + torch.arange(self.beam)).flatten())

    def _select(self, rows: Int[Tensor, " n"]) -> "PlainState":
        memory = [
            (key.index_select(0, rows), value.index_select(0, rows)) for key, value in self.memory
        ]
        return replace(self.reorder(rows), memory=memory, attended=self.attended[rows])

    def reorder(self, rows: Int[Tensor, " b"]) -> "PlainState":
        """The state with rows taken from other rows of the same source."""
        past = [
            (key.index_select(0, rows), value.index_select(0, rows)) for key, value in self.past
        ]
        return replace(self, past=past)


class PlainTransformer(nn.Module):
    """torch.nn.Transformer with sinusoidal positions, as a user would write it."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(VOCABULARY, WIDTH, padding_idx=0)
        nn.init.normal_(self.embedding.weight, std=WIDTH**-0.5)
        shape = (WIDTH, HEADS, LAYERS, LAYERS, FEED_FORWARD, DROPOUT)
        with warnings.catch_warnings():
            # torch warns that norm_first disables nested tensors, which are not needed here
            warnings.simplefilter("ignore", UserWarning)
            self.body = nn.Transformer(*shape, batch_first=True, norm_first=True)
        angle = torch.arange(256)[:, None] * torch.exp(
            torch.arange(0, WIDTH, 2) * -(math.log(10_000) / WIDTH)
        )
        self.register_buffer("positions", torch.stack((angle.sin(), angle.cos()), -1).flatten(1))
        self.dropout = nn.Dropout(DROPOUT)

    def forward(self, source: Int[Tensor, "b s"], target: Int[Tensor, "b t"]) -> Float[Tensor, ""]:
        """The cross-entropy of the next target tokens."""
        next_tokens = target[:, 1:]
        logits = self.logits(source, target[:, :-1]).float()
        return cross_entropy(
            logits.flatten(0, 1), next_tokens.flatten(), ignore_index=0, label_smoothing=0.1
        )

    def logits(
        self, source: Int[Tensor, "b s"], target: Int[Tensor, "b t"]
    ) -> Float[Tensor, "b t v"]:
        """Logits of the token after each target token."""
        future = nn.Transformer.generate_square_subsequent_mask(target.shape[1], dtype=torch.bool)
        hidden = self.body(
            self._embed(source),
            self._embed(target),
            tgt_mask=future,
            src_key_padding_mask=source == 0,
            memory_key_padding_mask=source == 0,
        )
        return hidden @ self.embedding.weight.T

    def start(self, source: Int[Tensor, "b s"]) -> PlainState:
        """Encode `source` and prepare to decode its first target token."""
        memory = self.body.encoder(self._embed(source), src_key_padding_mask=source == 0)
        empty = memory.new_zeros(len(source), HEADS, 0, WIDTH // HEADS)
        return PlainState(
            [(empty, empty)] * LAYERS,
            [_keys_and_values(layer.multihead_attn, memory) for layer in self._layers()],
            (source != 0)[:, None, None],
            0,
        )

    def step(
        self, tokens: Int[Tensor, " b"], state: PlainState
    ) -> tuple[Float[Tensor, "b v"], PlainState]:
        """Logits of the token after `tokens`, the tokens at the state's position."""
        x = self._embed(tokens[:, None], first=state.position)
        past: list[KeysAndValues] = []
        for layer, before, memory in zip(self._layers(), state.past, state.memory, strict=True):
            y = layer.norm1(x)
            current = _keys_and_values(layer.self_attn, y)
            past.append(
                (torch.cat((before[0], current[0]), 2), torch.cat((before[1], current[1]), 2))
            )
            x = x + _attend(layer.self_attn, y, *past[-1], None)
            x = x + _attend(layer.multihead_attn, layer.norm2(x), *memory, state.attended)
            x = x + layer.linear2(layer.linear1(layer.norm3(x)).relu())
        logits = self.body.decoder.norm(x)[:, 0] @ self.embedding.weight.T
        return logits, replace(state, past=past, position=state.position + 1)

    def _layers(self) -> Iterable[nn.TransformerDecoderLayer]:
        return cast("Iterable[nn.TransformerDecoderLayer]", self.body.decoder.layers)

    def _embed(self, tokens: Tensor, first: int = 0) -> Tensor:
        scaled = self.embedding(tokens) * WIDTH**0.5
        return self.dropout(scaled + self.positions[first : first + tokens.shape[1]])


def _keys_and_values(attention: nn.MultiheadAttention, x: Tensor) -> KeysAndValues:
    weight, bias = attention.in_proj_weight[WIDTH:], attention.in_proj_bias[WIDTH:]
    key, value = linear(x, weight, bias).chunk(2, dim=-1)
    return _heads(key), _heads(value)


def _attend(
    attention: nn.MultiheadAttention, x: Tensor, key: Tensor, value: Tensor, mask: Tensor | None
) -> Tensor:
    query = _heads(linear(x, attention.in_proj_weight[:WIDTH], attention.in_proj_bias[:WIDTH]))
    attended = scaled_dot_product_attention(query, key, value, attn_mask=mask)
    return attention.out_proj(attended.transpose(1, 2).flatten(2))


def _heads(x: Float[Tensor, "b t c"]) -> Float[Tensor, "b h t d"]:
    return x.unflatten(-1, (HEADS, -1)).transpose(1, 2)
