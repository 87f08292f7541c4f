"""Transformer attention with four switchable terms, on sequences and maps.

    attention = AttentionSpec(terms="0110").build(channels=256)          # a map, (N, C, H, W)
    y = attention(x)                                                     # (N, C, H, W)
    attention = AttentionSpec(terms="1111").build(channels=512, ndim=1)  # a sequence, (B, T, C)
    y = attention(target, source, key_padding_mask=padding)              # encoder-decoder

Shapes: b batch, q queries, k keys, c channels, h heads, d width of a head, t tokens so far.
"""

import math
from collections.abc import Callable
from typing import ClassVar, Literal, cast

import torch
from jaxtyping import Bool, Float
from pydantic import Field, field_validator
from torch import Tensor, nn
from torch.fx import Proxy

from quatrain.nn.attention_state import Explanation, KeyValueState, OffsetTable, RunningState
from quatrain.nn.checks import Count, Reach, check_channels, check_divides
from quatrain.nn.initialization import Projection
from quatrain.nn.relative_position import RelativePosition
from quatrain.nn.scripting import refuse_scripting, warn_of_tracing
from quatrain.nn.tokens import (
    check_layout,
    laid_out_like,
    sizes_of,
    subsampled,
    subsampled_mask,
    tokens_of,
)
from quatrain.nn.tracing import record_call
from quatrain.ops.attention import Method, attend
from quatrain.ops.attention.one_query import one_query
from quatrain.ops.attention.reference import attention_weights
from quatrain.ops.positions import Grid
from quatrain.ops.precision import autocast_disabled
from quatrain.ops.support import Support
from quatrain.ops.terms import Operands, logits, upcast_operands
from quatrain.specs import Spec, SpecError, Term, Terms

QueryPosition = tuple[int, ...] | Callable[[tuple[int, ...]], tuple[int, ...]]
"""Coordinates (t,) or (y, x) of a query, or a function from the sizes (T,) or (H, W) to them."""


class AttentionSpec(Spec):
    """Transformer attention over chosen terms.

    Source: Zhu et al. 2019, https://arxiv.org/abs/1904.05873, equations 2 and 8.
    """

    kind: Literal["attention"] = "attention"
    terms: Terms = Term.parse("1111")
    """Which of the four terms are on; "0000" is uniform weights, not a missing module."""
    heads: Count = 8
    """Heads M; they must divide the channels."""
    window: Reach | None = None
    """Odd width of the supporting region, per axis, in queries; None for all keys."""
    key_stride: Count = 1
    """Every how many positions a key is kept, per axis (plain subsampling)."""
    scaled: bool | None = None
    """Divide logits by the root of the head's width; None for yes on sequences, no on maps."""
    wavelength: float | None = Field(default=None, gt=1)
    """Base of the encoding's wavelengths; None for 10000 on sequences, 1000 on maps."""

    @field_validator("window")
    @classmethod
    def _window_is_odd(cls, window: int | None) -> int | None:
        if window is not None and window % 2 == 0:
            raise SpecError("window", window, "an odd number", f"use {window - 1} or {window + 1}")
        return window

    def build(
        self, channels: int, ndim: int = 2, key_channels: int | None = None
    ) -> "GeneralizedAttention":
        """The module, for queries of `channels` and keys of `key_channels` (default: the same)."""
        return GeneralizedAttention(self, channels, ndim, key_channels)

    def check_channels(self, channels: int, ndim: int) -> None:
        """Refuse channels that no module of this spec can have.

        Raises:
            SpecError: if heads do not divide them, or encodings on so many axes do not.
        """
        if ndim not in (1, 2):
            raise SpecError("ndim", ndim, "1 (sequences) or 2 (maps)", "choose one of them")
        check_channels("channels", channels)
        check_divides("heads", self.heads, channels)
        if self.terms.use_position and channels % (2 * ndim):
            raise SpecError(
                "channels",
                channels,
                f"a multiple of {2 * ndim}, for sines and cosines on {ndim} axes",
                "change the width or switch the position terms off",
            )


class GeneralizedAttention(nn.Module):
    r"""Multi-head attention whose logits are the chosen terms of

    $$ z_q^T U^T V^C x_k + z_q^T U^T V^R R_{k-q} + u^T V^C x_k + v^T V^R R_{k-q}. $$

    It returns W[...] only: residual connections and scales belong to the block around it.

    `query` is U, `key` V^C, `value` W', `position` V^R (one projection per axis), `output` W,
    `key_bias` u and `position_bias` v; a parameter that no chosen term needs does not exist. Set
    `method` to force how it is computed, instead of letting `plan` choose: "reference" has
    derivatives of every order and mode.

    Source: Zhu et al. 2019, https://arxiv.org/abs/1904.05873, equations 1, 2 and 8; the four terms
        are those of Dai et al. 2019, https://arxiv.org/abs/1901.02860, section 3.3; logits scaled
        by the root of the width on sequences as Vaswani et al. 2017,
        https://arxiv.org/abs/1706.03762, equation 1.
    Differs: the encodings of the axes of a map are projected separately, summed, and divided by
        the root of 2, as in the released vision code, which equals the variance of the paper's
        concatenation; the output projection has a bias, as there.
    """  # noqa: D415 - the sentence continues in the formula

    sequence_wavelength: ClassVar[float] = 10_000.0
    map_wavelength: ClassVar[float] = 1_000.0
    __prepare_scriptable__ = refuse_scripting

    def __init__(
        self, spec: AttentionSpec, channels: int, ndim: int = 2, key_channels: int | None = None
    ) -> None:
        super().__init__()
        spec.check_channels(channels, ndim)
        key_channels = channels if key_channels is None else key_channels
        check_channels("key_channels", key_channels)
        self.spec, self.channels, self.ndim = spec, channels, ndim
        self.key_channels = key_channels
        self.method: Method = "auto"
        terms, width = spec.terms, channels // spec.heads
        scaled = ndim == 1 if spec.scaled is None else spec.scaled
        self.scale = width**-0.5 if scaled else 1.0
        usual = self.sequence_wavelength if ndim == 1 else self.map_wavelength

        def projection(fan_in: int) -> Projection:
            return Projection(fan_in, channels, bias=False)

        def bias() -> nn.Parameter:
            return nn.Parameter(torch.empty(spec.heads, width))

        self.query = projection(channels) if terms.use_query else None
        self.key = projection(key_channels) if terms.use_content else None
        self.value = projection(key_channels)
        self.position = (
            RelativePosition(channels, spec.heads, ndim, spec.wavelength or usual)
            if terms.use_position
            else None
        )
        self.key_bias = bias() if terms.has(Term.KEY) else None
        self.position_bias = bias() if terms.has(Term.POSITION) else None
        self.output = Projection(channels, channels)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw u and v, of variance 1 / (6 d); the projections draw themselves.

        Both are drawn even where one is missing, so that neither depends on the other.
        """
        width = self.channels // self.spec.heads
        bound = (2 * width) ** -0.5
        for bias in (self.key_bias, self.position_bias):
            drawn = nn.init.uniform_(torch.empty(self.spec.heads, width), -bound, bound)
            if bias is not None:
                bias.data.copy_(drawn)

    def forward(
        self,
        query: Float[Tensor, "*shape"],
        key: Float[Tensor, "*key_shape"] | None = None,
        *,
        causal: bool = False,
        key_padding_mask: Bool[Tensor, "b k"] | None = None,
        attend_mask: Bool[Tensor, "..."] | None = None,
        method: Method = "auto",
    ) -> Float[Tensor, "*shape"]:
        """Attend from `query` to `key` (default: to itself).

        Args:
            query: (B, T, C) for sequences, (N, C, H, W) for maps.
            key: the attended content, in the same layout, of any length or size.
            causal: whether a query sees only keys at or before it (sequences).
            key_padding_mask: True at keys that are padding, those that a stride leaves out
                among them; (B, K).
            attend_mask: True where a query may attend to a key; (Q, K), (B, Q, K) or (B, h, Q, K).
            method: force a method in this call; "auto" is that of the module.

        Raises:
            InputError: if a shape or mask does not fit.
        """
        if isinstance(query, Proxy):
            masks = {"key_padding_mask": key_padding_mask, "attend_mask": attend_mask}
            return record_call(self, query, key, causal=causal, **masks, method=method)
        warn_of_tracing(self)
        operands, grid, support = self._prepare(query, key, causal, key_padding_mask, attend_mask)
        method = self.method if method == "auto" else method
        mixed = attend(self.spec.terms, operands, grid, support, method)
        return laid_out_like(query, self.output(_merge_heads(mixed)))

    def explain(
        self,
        query: Float[Tensor, "*shape"],
        key: Float[Tensor, "*key_shape"] | None = None,
        *,
        causal: bool = False,
        key_padding_mask: Bool[Tensor, "b k"] | None = None,
        attend_mask: Bool[Tensor, "..."] | None = None,
        at: QueryPosition | None = None,
    ) -> Explanation:
        """The weights of this attention and the logits of each of its terms, for these inputs.

        With `at`, the position of a query, that query alone is explained: the axis of the queries
        has size 1, and no matrix of all pairs is made.
        """
        operands, grid, support = self._prepare(query, key, causal, key_padding_mask, attend_mask)
        if at is not None:
            at = at(grid.queries) if callable(at) else at
            operands, grid, support = one_query(at, operands, grid, support)
        terms = self.spec.terms
        with autocast_disabled(query):
            weights = attention_weights(terms, operands, grid, support)
            operands = upcast_operands(operands)
            shape = (query.shape[0], self.spec.heads, math.prod(grid.queries), weights.shape[-1])
            return Explanation(
                weights.expand(shape),
                {term: logits(term, operands, grid).expand(shape) for term in terms},
                support.mask(grid, operands.value),
            )

    def cache_keys(
        self, key: Float[Tensor, "b k c"], state: KeyValueState | None = None
    ) -> KeyValueState:
        """Project keys and values once; with `state`, append them and drop what left the window."""
        fresh = self._project(key)
        if state is not None:
            return state.extended(fresh, self.spec.window)
        # In memory as each step's products read them: head by head.
        return KeyValueState(
            fresh.value.contiguous(),
            None if fresh.key is None else fresh.key.contiguous(),
            None if self.position is None else OffsetTable(self.position.between),
        )

    def attend_cached(
        self,
        query: Float[Tensor, "bn 1 c"],
        state: KeyValueState,
        position: int,
        key_padding_mask: Bool[Tensor, "b k"] | None = None,
    ) -> Float[Tensor, "bn 1 c"]:
        """Attend from one query at `position` to remembered keys that begin at position 0.

        Where there are n queries for each row of the state, as of the hypotheses of a source, each
        n in turn share a row, which is read once for all of them.
        """
        self._check_stepwise()
        grid = Grid((1,), (state.value.shape[2],), first_query=position)
        support = Support(window=self.spec.window, key_padding_mask=key_padding_mask)
        rows = state.value.shape[0]
        together = query.reshape(rows, query.shape[0] // rows if rows else 1, query.shape[-1])
        operands = self._operands(together, state, grid)
        mixed = _merge_heads(attend(self.spec.terms, operands, grid, support, self.method))
        return self.output(mixed).expand(-1, together.shape[1], -1).reshape(query.shape)

    def step(
        self, query: Float[Tensor, "b 1 c"], state: KeyValueState | RunningState | None
    ) -> tuple[Float[Tensor, "b 1 c"], KeyValueState | RunningState]:
        """One token of causal self-attention: the output at this token, and the next state.

        Only offsets matter, so the keys still remembered are numbered from 0 and the query is
        the last of them; whatever a window has dropped needs no place. Where neither the query
        nor a position matters, sums over the past are all that is remembered.
        """
        self._check_stepwise()
        terms = self.spec.terms
        if self.spec.window is None and not terms.use_query and not terms.use_position:
            return self._run_on(query, cast("RunningState | None", state))
        state = self.cache_keys(query, cast("KeyValueState | None", state))
        last = state.value.shape[2] - 1
        grid = Grid((1,), (last + 1,), first_query=last)
        operands = self._operands(query, state, grid)
        mixed = attend(self.spec.terms, operands, grid, Support(), self.method)
        return self.output(_merge_heads(mixed)), state

    def _run_on(
        self, query: Float[Tensor, "b 1 c"], state: RunningState | None
    ) -> tuple[Float[Tensor, "b 1 c"], RunningState]:
        fresh = self.cache_keys(query)
        exact = torch.promote_types(fresh.value.dtype, torch.float32)
        value = fresh.value[:, :, 0].to(exact)
        logit = torch.zeros_like(value[..., :1])
        if fresh.key is not None and self.key_bias is not None:
            matched = (fresh.key[:, :, 0] * self.key_bias).sum(-1, keepdim=True)
            logit = (matched * self.scale).to(exact)
        state = (RunningState.empty(value) if state is None else state).extended(logit, value)
        return self.output(state.mean.to(fresh.value.dtype).flatten(1)[:, None]), state

    def _prepare(
        self,
        query: Float[Tensor, "*shape"],
        key: Float[Tensor, "*key_shape"] | None,
        causal: bool,
        key_padding_mask: Bool[Tensor, "b k"] | None,
        attend_mask: Bool[Tensor, "..."] | None,
    ) -> tuple[Operands, Grid, Support]:
        key = query if key is None else key
        check_layout(query, "query", query.shape[0], self.channels, self.ndim)
        check_layout(key, "key", query.shape[0], self.key_channels, self.ndim)
        stride = self.spec.key_stride
        if stride > 1:
            sizes = sizes_of(key, self.ndim)
            key_padding_mask = subsampled_mask(key_padding_mask, sizes, stride)
            key = subsampled(key, self.ndim, stride)
        grid = Grid(sizes_of(query, self.ndim), sizes_of(key, self.ndim), stride)
        support = Support(causal, self.spec.window, key_padding_mask, attend_mask)
        remembered = self._project(tokens_of(key, self.ndim))
        return self._operands(tokens_of(query, self.ndim), remembered, grid), grid, support

    def _operands(
        self, query: Float[Tensor, "b q c"], state: KeyValueState, grid: Grid
    ) -> Operands:
        return Operands(
            value=state.value,
            query=self._heads_of(self.query, query),
            key=state.key,
            key_bias=self.key_bias,
            position_bias=self.position_bias,
            relative=self._relative(state, grid),
            scale=self.scale,
        )

    def _relative(self, state: KeyValueState, grid: Grid) -> tuple[Float[Tensor, "h _ d"], ...]:
        if self.position is None:
            return ()
        if state.offsets is None:
            return self.position(grid)
        return (state.offsets.of(grid.offset_range(0)),)

    def _project(self, key: Float[Tensor, "b k c"]) -> KeyValueState:
        return KeyValueState(self._heads(self.value(key)), self._heads_of(self.key, key))

    def _heads(self, x: Float[Tensor, "b t c"]) -> Float[Tensor, "b h t d"]:
        return x.unflatten(2, (self.spec.heads, -1)).transpose(1, 2)

    def _heads_of(
        self, layer: nn.Linear | None, x: Float[Tensor, "b t c"]
    ) -> Float[Tensor, "b h t d"] | None:
        return None if layer is None else self._heads(layer(x))

    def _check_stepwise(self) -> None:
        if self.ndim != 1 or self.spec.key_stride > 1:
            found = f"{self.ndim} and key_stride {self.spec.key_stride}"
            raise SpecError("ndim", found, "1 and 1", "decode step by step on whole sequences only")


def _merge_heads(x: Float[Tensor, "b h q d"]) -> Float[Tensor, "b q c"]:
    return x.transpose(1, 2).flatten(2)
