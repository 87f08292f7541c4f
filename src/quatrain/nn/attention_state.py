"""Decoding state of attention (cached keys and values, running sums), and explanations.

Shapes: b batch, q queries, k keys, h heads, d width of a head, t tokens so far.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from quatrain.nn.relative_position import RelativePositionCache
from quatrain.ops.attention.query_range import one_query
from quatrain.ops.attention.reference import attention_weights, masked_softmax
from quatrain.ops.positions import Grid
from quatrain.ops.precision import autocast_disabled
from quatrain.ops.terms import AttentionInputs, logits, upcast_operands
from quatrain.specs import InputError, Term

QueryPosition = tuple[int, ...] | Callable[[tuple[int, ...]], tuple[int, ...]]
"""Coordinates (t,) or (y, x) of a query, or a function from the sizes (T,) or (H, W) to them."""


@dataclass(frozen=True)
class KeyValueState:
    """Decoding state of attention: the projected keys and values so far (the KV cache).

    Where E1 has keys of its own, these are `paired_key`, and E3 is one number for each key,
    `key_logit`. `first` is the position of the first token: a window drops those before.
    `encodings` and `biases` cache the encodings of relative positions, and numbers that give E4.

    Source: Zhu et al. 2019, https://arxiv.org/abs/1904.05873, equations 1 and 2
        (V^C x_k and W' x_k).
    """

    value: Float[Tensor, "b h t d"]
    key: Float[Tensor, "b h t d"] | None = None
    encodings: RelativePositionCache | None = None
    paired_key: Float[Tensor, "b h t d"] | None = None
    key_logit: Float[Tensor, "b h t"] | None = None
    first: int = 0
    biases: RelativePositionCache | None = None

    @property
    def tokens(self) -> int:
        """All tokens so far, also those that a window has dropped."""
        return self.first + self.value.shape[2]

    def select(self, rows: Int[Tensor, " n"]) -> "KeyValueState":
        """The state of the chosen batch rows, in that order."""
        return self._map(lambda x: x.index_select(0, rows))

    def contiguous(self) -> "KeyValueState":
        """The state with each tensor contiguous by batch element and head."""
        return self._map(torch.Tensor.contiguous)

    def append(self, new: "KeyValueState", window: int | None) -> "KeyValueState":
        """This state and then `new`; with a `window`, only the last `window` tokens."""
        start = None if window is None else -window

        def both(x: Tensor | None, y: Tensor | None) -> Tensor | None:
            return None if x is None or y is None else _concatenate(x, y)[:, :, start:]

        value = _concatenate(self.value, new.value)[:, :, start:]
        return KeyValueState(
            value,
            both(self.key, new.key),
            self.encodings,
            both(self.paired_key, new.paired_key),
            both(self.key_logit, new.key_logit),
            self.tokens + new.value.shape[2] - value.shape[2],
            self.biases,
        )

    def _map(self, change: Callable[[Tensor], Tensor]) -> "KeyValueState":
        """This state with each tensor changed."""
        key, paired_key, key_logit = (
            None if x is None else change(x) for x in (self.key, self.paired_key, self.key_logit)
        )
        return replace(
            self, value=change(self.value), key=key, paired_key=paired_key, key_logit=key_logit
        )


def outdated_state(terms: Term) -> InputError:
    """The error about a state that was cached with other terms than are on now."""
    remedy = "start decoding again after switching terms"
    return InputError(f'state was not cached with the terms "{terms}"; {remedy}', "state")


def _concatenate(
    past: Float[Tensor, "b h t *d"], new: Float[Tensor, "b h n *d"]
) -> Float[Tensor, "b h tn *d"]:
    """Both, one after the other; torch.cat on a CPU uses one thread: a third of the speed."""
    tokens = past.shape[2]
    both = past.new_empty(*past.shape[:2], tokens + new.shape[2], *past.shape[3:])
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
    null_key: bool = False

    @classmethod
    def empty(
        cls, value: Float[Tensor, "b h d"], terms: Term, *, null_key: bool = False
    ) -> "RunningState":
        """The state before the first token."""
        zero = torch.zeros_like(value[..., :1])
        low = torch.full_like(zero, -torch.inf)
        return cls(low, zero, torch.zeros_like(value), terms, null_key)

    def select(self, rows: Int[Tensor, " n"]) -> "RunningState":
        """The state of the chosen batch rows, in that order."""
        sums = (self.maximum[rows], self.total[rows], self.weighted_sum[rows])
        return RunningState(*sums, self.terms, self.null_key)

    def decay(self, slopes: Float[Tensor, "h 1"]) -> "RunningState":
        """The sums with the logit of every token lower by the slope of its head."""
        return replace(self, maximum=self.maximum - slopes)

    def append(
        self, logit: Float[Tensor, "b h 1"], value: Float[Tensor, "b h d"]
    ) -> "RunningState":
        """The sums with one more token."""
        maximum = torch.maximum(self.maximum, logit)
        rescale, weight = (self.maximum - maximum).exp(), (logit - maximum).exp()
        weighted_sum = self.weighted_sum * rescale + value * weight
        total = self.total * rescale + weight
        return RunningState(maximum, total, weighted_sum, self.terms, self.null_key)

    @property
    def mean(self) -> Float[Tensor, "b h d"]:
        """The weighted mean of all values so far, and of zero with the weight of a null key."""
        mean = self.weighted_sum / self.total
        if not self.null_key:
            return mean
        # Not a term exp(-maximum) of the total: it overflows, and its gradient is NaN.
        return mean * (self.maximum + self.total.log()).sigmoid()


@dataclass(frozen=True)
class Explanation:
    """The attention weights of one call, and the logits of each term.

    `logits` are the scaled logits of every term that is on, over all keys: `weights` is the
    softmax of their sum over the support, and of 0 for a null key, whose weight is not among them:
    then they sum to less than 1. `grid` has the sizes and coordinates of all queries and
    keys of the call. `support` is True at the keys that a query may attend to; None if it may
    attend to all. `query` are the coordinates of the explained query, (t,) or (y, x); None if all
    queries are explained, in order, row by row on a map.
    """

    weights: Float[Tensor, "b h q k"]
    logits: dict[Term, Float[Tensor, "b h q k"]]
    grid: Grid
    support: Bool[Tensor, "#b #h #q k"] | None = None
    query: tuple[int, ...] | None = None
    null_key: bool = False

    @classmethod
    def of(cls, inputs: AttentionInputs, at: QueryPosition | None) -> "Explanation":
        """Explain all queries of a call, or the one at the position `at`."""
        whole, heads = inputs.grid, inputs.value.shape[1]
        if callable(at):
            at = at(whole.queries)
        if at is not None:
            inputs = one_query(at, inputs)
        grid = inputs.grid
        with autocast_disabled(inputs.value):
            weights = attention_weights(inputs)
            operands = upcast_operands(inputs.operands)
            batch, keys = inputs.value.shape[0], weights.shape[-1]
            shape = (batch, heads, math.prod(grid.queries), keys)
            return cls(
                weights.expand(shape),
                {term: logits(term, operands, grid).expand(shape) for term in inputs.terms},
                whole,
                inputs.support.mask(grid, inputs.value),
                at,
                inputs.support.null_key,
            )

    def term_weights(self, term: Term) -> Float[Tensor, "b h q k"]:
        """The softmax of one term's logits over the same keys.

        These weights do not add up to `weights`: the softmax of a sum is the normalized product of
        such weights.
        """
        return masked_softmax(self.logits[term], self.support, null_key=self.null_key)
