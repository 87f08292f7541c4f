"""What an attention hands out besides its output: a memory for decoding, and its own account.

Shapes: b batch, q queries, k keys, h heads, d width of a head, t tokens so far.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from quatrain.ops.attention.reference import masked_softmax
from quatrain.specs import Term

_FEWEST = 32
"""Offsets to the past that are encoded at first."""


class OffsetTable:
    """Encodings of relative positions for one decoding, which needs the same ones at each step.

    Whenever an offset is new, twice as many are encoded, so that a step encodes few of them.

    Source: Zhu et al. 2019, https://arxiv.org/abs/1904.05873, equation 2 (V^R R_{k-q}).
    """

    def __init__(self, encode: Callable[[range], Float[Tensor, "h l d"]]) -> None:
        self._encode = encode
        self._known = range(0)
        self._table: Tensor | None = None

    def of(self, offsets: range) -> Float[Tensor, "h l d"]:
        """The encodings of neighbouring offsets; with gradients they are made anew."""
        if torch.is_grad_enabled():
            return self._encode(offsets)
        known = self._known
        if self._table is None or offsets.start < known.start or offsets.stop > known.stop:
            first = min(2 * offsets.start, known.start, -_FEWEST)
            self._known = range(first, max(offsets.stop, known.stop))
            self._table = self._encode(self._known)
        start = offsets.start - self._known.start
        return self._table[:, start : start + len(offsets)]


@dataclass(frozen=True)
class KeyValueState:
    """What step-by-step decoding remembers: the projected keys and values so far.

    Source: Zhu et al. 2019, https://arxiv.org/abs/1904.05873, equations 1 and 2
        (V^C x_k and W' x_k).
    """

    value: Float[Tensor, "b h t d"]
    key: Float[Tensor, "b h t d"] | None = None
    offsets: OffsetTable | None = None

    def select(self, rows: Int[Tensor, " n"]) -> "KeyValueState":
        """The state of the chosen batch rows, in that order."""
        key = None if self.key is None else self.key.index_select(0, rows)
        return KeyValueState(self.value.index_select(0, rows), key, self.offsets)

    def extended(self, fresh: "KeyValueState", window: int | None) -> "KeyValueState":
        """This state and then `fresh`; with a `window`, only the last that many tokens."""
        keep = None if window is None else -window
        value = _joined(self.value, fresh.value)[:, :, keep:]
        if self.key is None or fresh.key is None:
            return KeyValueState(value, None, self.offsets)
        return KeyValueState(value, _joined(self.key, fresh.key)[:, :, keep:], self.offsets)


def _joined(
    past: Float[Tensor, "b h t d"], fresh: Float[Tensor, "b h n d"]
) -> Float[Tensor, "b h tn d"]:
    """Both, one after the other; on a CPU torch.cat takes one thread and thrice as long."""
    tokens = past.shape[2]
    both = past.new_empty(*past.shape[:2], tokens + fresh.shape[2], past.shape[3])
    both[:, :, :tokens], both[:, :, tokens:] = past, fresh
    return both


@dataclass(frozen=True)
class RunningState:
    """What decoding remembers where no query changes the weights: sums over the past, per head.

    The sums are kept relative to the highest logit so far, so that none of them overflows and the
    past never underflows beside it.

    Source: Milakov and Gimelshein 2018, https://arxiv.org/abs/1805.02867, algorithm 3.
    """

    highest: Float[Tensor, "b h 1"]
    total: Float[Tensor, "b h 1"]
    mixed: Float[Tensor, "b h d"]

    @classmethod
    def empty(cls, value: Float[Tensor, "b h d"]) -> "RunningState":
        """The state before the first token."""
        nothing = torch.zeros_like(value[..., :1])
        return cls(torch.full_like(nothing, -torch.inf), nothing, torch.zeros_like(value))

    def select(self, rows: Int[Tensor, " n"]) -> "RunningState":
        """The state of the chosen batch rows, in that order."""
        return RunningState(self.highest[rows], self.total[rows], self.mixed[rows])

    def extended(
        self, logit: Float[Tensor, "b h 1"], value: Float[Tensor, "b h d"]
    ) -> "RunningState":
        """These sums with one more token's logit and value."""
        highest = torch.maximum(self.highest, logit)
        kept, fresh = (self.highest - highest).exp(), (logit - highest).exp()
        return RunningState(highest, self.total * kept + fresh, self.mixed * kept + value * fresh)

    @property
    def mean(self) -> Float[Tensor, "b h d"]:
        """The weighted mean of all values so far."""
        return self.mixed / self.total


@dataclass(frozen=True)
class Explanation:
    """Where an attention looked, and how much each term contributed.

    `logits` holds the scaled logits of every term that is on, over all keys: their sum is what
    the softmax over the support turned into `weights`. `support` is True at the keys that a query
    may attend to; None where that is every key.
    """

    weights: Float[Tensor, "b h q k"]
    logits: dict[Term, Float[Tensor, "b h q k"]]
    support: Bool[Tensor, "#b #h #q k"] | None = None

    def term_weights(self, term: Term) -> Float[Tensor, "b h q k"]:
        """The weights that the softmax makes of this term's logits alone, over the same keys.

        They are where the term by itself would look, and no summand of `weights`: the softmax of
        a sum is the product of such weights, normalized again.
        """
        return masked_softmax(self.logits[term], self.support)
