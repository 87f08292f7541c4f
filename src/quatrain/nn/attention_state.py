"""Decoding state of attention (cached keys and values, running sums), and explanations.

Shapes: b batch, q queries, k keys, h heads, d width of a head, t tokens so far.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from quatrain.nn.relative_position import EncodingCache
from quatrain.ops.attention.reference import masked_softmax
from quatrain.ops.positions import Grid
from quatrain.specs import Term


@dataclass(frozen=True)
class KeyValueState:
    """Decoding state of attention: the projected keys and values so far (the KV cache).

    Source: Zhu et al. 2019, https://arxiv.org/abs/1904.05873, equations 1 and 2
        (V^C x_k and W' x_k).
    """

    value: Float[Tensor, "b h t d"]
    key: Float[Tensor, "b h t d"] | None = None
    encodings: EncodingCache | None = None

    def select(self, rows: Int[Tensor, " n"]) -> "KeyValueState":
        """The state of the chosen batch rows, in that order."""
        key = None if self.key is None else self.key.index_select(0, rows)
        return KeyValueState(self.value.index_select(0, rows), key, self.encodings)

    def append(self, new: "KeyValueState", window: int | None) -> "KeyValueState":
        """This state and then `new`; with a `window`, only the last `window` tokens."""
        start = None if window is None else -window
        value = _concatenate(self.value, new.value)[:, :, start:]
        if self.key is None or new.key is None:
            return KeyValueState(value, None, self.encodings)
        return KeyValueState(value, _concatenate(self.key, new.key)[:, :, start:], self.encodings)


def _concatenate(
    past: Float[Tensor, "b h t d"], new: Float[Tensor, "b h n d"]
) -> Float[Tensor, "b h tn d"]:
    """Both, one after the other; torch.cat on a CPU uses one thread: a third of the speed."""
    tokens = past.shape[2]
    both = past.new_empty(*past.shape[:2], tokens + new.shape[2], past.shape[3])
    both[:, :, :tokens], both[:, :, tokens:] = past, new
    return both


@dataclass(frozen=True)
class RunningState:
    """Decoding state of attention whose weights no query changes: running softmax sums per head.

    The sums are relative to the running maximum of the logits, so they neither overflow nor
    underflow.

    Source: Milakov and Gimelshein 2018, https://arxiv.org/abs/1805.02867, algorithm 3.
    """

    maximum: Float[Tensor, "b h 1"]
    total: Float[Tensor, "b h 1"]
    weighted_sum: Float[Tensor, "b h d"]
    terms: Term
    """The terms of the logits."""

    @classmethod
    def empty(cls, value: Float[Tensor, "b h d"], terms: Term) -> "RunningState":
        """The state before the first token."""
        zero = torch.zeros_like(value[..., :1])
        return cls(torch.full_like(zero, -torch.inf), zero, torch.zeros_like(value), terms)

    def select(self, rows: Int[Tensor, " n"]) -> "RunningState":
        """The state of the chosen batch rows, in that order."""
        sums = (self.maximum[rows], self.total[rows], self.weighted_sum[rows])
        return RunningState(*sums, self.terms)

    def append(
        self, logit: Float[Tensor, "b h 1"], value: Float[Tensor, "b h d"]
    ) -> "RunningState":
        """The sums with one more token."""
        maximum = torch.maximum(self.maximum, logit)
        rescale, weight = (self.maximum - maximum).exp(), (logit - maximum).exp()
        weighted_sum = self.weighted_sum * rescale + value * weight
        return RunningState(maximum, self.total * rescale + weight, weighted_sum, self.terms)

    @property
    def mean(self) -> Float[Tensor, "b h d"]:
        """The weighted mean of all values so far."""
        return self.weighted_sum / self.total


@dataclass(frozen=True)
class Explanation:
    """The attention weights of one call, and the logits of each term.

    `logits` are the scaled logits of every term that is on, over all keys: `weights` is the
    softmax of their sum over the support. `grid` has the sizes and coordinates of all queries and
    keys of the call. `support` is True at the keys that a query may attend to; None if it may
    attend to all. `query` are the coordinates of the explained query, (t,) or (y, x); None if all
    queries are explained, in order, row by row on a map.
    """

    weights: Float[Tensor, "b h q k"]
    logits: dict[Term, Float[Tensor, "b h q k"]]
    grid: Grid
    support: Bool[Tensor, "#b #h #q k"] | None = None
    query: tuple[int, ...] | None = None

    def term_weights(self, term: Term) -> Float[Tensor, "b h q k"]:
        """The softmax of one term's logits over the same keys.

        These weights do not add up to `weights`: the softmax of a sum is the normalized product of
        such weights.
        """
        return masked_softmax(self.logits[term], self.support)
