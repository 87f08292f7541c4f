"""Transformer attention with four switchable terms, on sequences and maps.

    attention = GeneralizedAttention(256, terms="0110", heads=8)     # maps
    y = attention(x)                                                 # (N, C, H, W)
    attention = GeneralizedAttention(512, terms="1111", ndim=1)      # sequences, (B, T, C)
    y = attention(target, source, key_padding_mask=padding)          # encoder-decoder

Shapes: b batch, q queries, k keys, c channels, h heads, d width of a head, t tokens so far.
"""

import math
from collections.abc import Callable
from typing import ClassVar, Literal

import torch
from jaxtyping import Bool, Float
from pydantic import Field
from torch import Tensor, nn
from torch.fx import Proxy

from quatrain.nn.attention_state import Explanation, KeyValueState, RunningState
from quatrain.nn.checks import Count, WindowWidth, check_stepwise
from quatrain.nn.layers import Projection
from quatrain.nn.mixer_module import MixerModule, MixerSpec
from quatrain.nn.relative_position import EncodingCache, RelativePosition
from quatrain.nn.tokens import (
    check_layout,
    from_tokens,
    spatial_sizes,
    subsample,
    subsample_mask,
    to_tokens,
)
from quatrain.nn.tracing import record_call, warn_of_tracing
from quatrain.ops.attention import Method, attend
from quatrain.ops.attention.query_range import one_query
from quatrain.ops.attention.reference import attention_weights
from quatrain.ops.positions import Grid
from quatrain.ops.precision import autocast_disabled
from quatrain.ops.support import Support
from quatrain.ops.terms import AttentionInputs, Operands, logits, upcast_operands
from quatrain.specs import InputError, Spec, SpecError, Term, Terms

QueryPosition = tuple[int, ...] | Callable[[tuple[int, ...]], tuple[int, ...]]
"""Coordinates (t,) or (y, x) of a query, or a function from the sizes (T,) or (H, W) to them."""


class AttentionSpec(Spec, MixerSpec["GeneralizedAttention"]):
    """Transformer attention over chosen terms.

    Source: Zhu et al. 2019, https://arxiv.org/abs/1904.05873, equations 2 and 8.
    """

    kind: Literal["attention"] = "attention"
    terms: Terms = Term.parse("1111")
    """Which of the four terms are on; "0000" is uniform weights, not a missing module."""
    heads: Count = 8
    """Heads M; they must divide the channels."""
    window: WindowWidth | None = None
    """Odd width of the window of keys around a query, per axis, in queries; None for all keys."""
    key_stride: Count = 1
    """Stride of the keys, per axis (plain subsampling); 1 keeps all."""
    scaled: bool | None = None
    """Divide logits by the root of the head width; None for yes on sequences, no on maps."""
    wavelength: float | None = Field(default=None, gt=1)
    """Base of the encoding's wavelengths; None for 10000 on sequences, 1000 on maps."""

    divisors: ClassVar[tuple[str, ...]] = ("heads",)

    def check_channels(self, channels: int, ndim: int) -> None:
        """Check the channels and the number of axes that a module of this spec would have.

        Raises:
            SpecError: if heads do not divide the channels, or position encodings do not fit them.
        """
        super().check_channels(channels, ndim)
        if self.terms.use_position and channels % (2 * ndim):
            text = f"channels={channels} is no multiple of {2 * ndim}"
            remedy = "change the channels or turn the position terms (E2, E4) off"
            raise SpecError(f"{text}, for sines and cosines on {ndim} axes; {remedy}", "channels")


class GeneralizedAttention(MixerModule, spec=AttentionSpec):
    r"""Multi-head attention whose logits are the chosen terms of

    $$ z_q^T U^T V^C x_k + z_q^T U^T V^R R_{k-q} + u^T V^C x_k + v^T V^R R_{k-q}. $$

    Hyper-parameters: `AttentionSpec`. It returns W[...] only: residual connections and scales
    belong to the surrounding block.

    `query` is U, `key` V^C, `value` W', `position` V^R (one projection per axis), `output` W,
    `key_bias` u and `position_bias` v; a parameter that no chosen term needs does not exist. Set
    `method` to choose the algorithm; by default `plan` chooses. "reference" has derivatives of
    every order, and forward-mode derivatives.

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

    takes_keys: ClassVar[bool] = True
    spec: AttentionSpec
    _terms_on: Term | None = None
    """The terms that are on; None for all of the spec, also in modules of older pickles."""

    def _create_parameters(self) -> None:
        spec, terms, channels, ndim = self.spec, self.spec.terms, self.channels, self.ndim
        self._terms_on = None
        self.method: Method = "auto"
        width = channels // spec.heads
        scaled = ndim == 1 if spec.scaled is None else spec.scaled
        self.scale: float = width**-0.5 if scaled else 1.0
        default = self.sequence_wavelength if ndim == 1 else self.map_wavelength

        def projection(inputs: int) -> Projection:
            return Projection(inputs, channels, bias=False)

        def bias() -> nn.Parameter:
            return nn.Parameter(torch.empty(spec.heads, width))

        self.query: Projection | None = projection(channels) if terms.use_query else None
        self.key: Projection | None = projection(self.key_channels) if terms.use_content else None
        self.value: Projection = projection(self.key_channels)
        self.position: RelativePosition | None = (
            RelativePosition(channels, spec.heads, ndim, spec.wavelength or default)
            if terms.use_position
            else None
        )
        self.key_bias: nn.Parameter | None = bias() if terms.has(Term.KEY) else None
        self.position_bias: nn.Parameter | None = bias() if terms.has(Term.POSITION) else None
        self.output: Projection = Projection(channels, channels)
        self.reset_parameters()

    @property
    def terms(self) -> Term:
        """The terms that are on: those of the spec, unless some are switched off.

        Assigning a set switches on the terms that both it and the spec have; see
        `quatrain.switch`. Computations are those of a module that was built with these terms.
        """
        return self.spec.terms if self._terms_on is None else self._terms_on

    @terms.setter
    def terms(self, terms: Term) -> None:
        self._terms_on = terms & self.spec.terms

    def extra_repr(self) -> str:
        """The channels, the fields of the spec, and the terms that are on if some are off."""
        is_switched = self.terms != self.spec.terms
        return super().extra_repr() + f", switched to {self.terms}" * is_switched

    def reset_parameters(self) -> None:
        """Draw u and v, of variance 1 / (6 d); each projection draws its weights itself.

        Both are drawn even if one does not exist, so that neither depends on the other.
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
            key_padding_mask: True at keys that are padding, before any key stride; (B, K).
            attend_mask: True where a query may attend to a key; (Q, K), (B, Q, K) or (B, h, Q, K).
            method: the algorithm of this call; "auto" is that of the module.

        Raises:
            InputError: if a shape or mask does not fit.
        """
        masks = {"key_padding_mask": key_padding_mask, "attend_mask": attend_mask}
        if isinstance(query, Proxy):
            return record_call(self, query, key, causal=causal, **masks, method=method)
        warn_of_tracing(self)
        inputs = self.attention_inputs(query, key, causal=causal, **masks)
        attended = attend(inputs, self.method if method == "auto" else method)
        return from_tokens(self.output(_merge_heads(attended)), query)

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
        """Attention weights, and the logits of each term, for these inputs.

        With `at`, the position of a query, this is computed for that query only: the query axis
        has size 1, and no Q x K matrix is created.
        """
        masks = {"key_padding_mask": key_padding_mask, "attend_mask": attend_mask}
        inputs = self.attention_inputs(query, key, causal=causal, **masks)
        whole = inputs.grid
        if callable(at):
            at = at(whole.queries)
        if at is not None:
            inputs = one_query(at, inputs)
        grid = inputs.grid
        with autocast_disabled(query):
            weights = attention_weights(inputs)
            operands = upcast_operands(inputs.operands)
            shape = (query.shape[0], self.spec.heads, math.prod(grid.queries), weights.shape[-1])
            return Explanation(
                weights.expand(shape),
                {term: logits(term, operands, grid).expand(shape) for term in inputs.terms},
                whole,
                inputs.support.mask(grid, inputs.value),
                at,
            )

    def cache_keys(
        self, key: Float[Tensor, "b k c"], state: KeyValueState | None = None
    ) -> KeyValueState:
        """Project keys and values once; with `state`, append them, within the window."""
        new = self._project(key)
        if state is not None:
            return state.append(new, self.spec.window)
        # Contiguous by head, the order in which the products of each step read them.
        return KeyValueState(
            new.value.contiguous(),
            None if new.key is None else new.key.contiguous(),
            None if self.position is None else EncodingCache(self.position.between),
        )

    def attend_cached(
        self,
        query: Float[Tensor, "bn 1 c"],
        state: KeyValueState,
        position: int,
        key_padding_mask: Bool[Tensor, "b k"] | None = None,
    ) -> Float[Tensor, "bn 1 c"]:
        """Attend from one query at `position` to cached keys, which start at position 0.

        If there are n queries per row of the state (the hypotheses of a source), n consecutive
        queries share a row, which is read once for all of them.
        """
        check_stepwise(self.ndim, "key_stride", self.spec.key_stride)
        grid = Grid((1,), (state.value.shape[2],), first_query=position)
        support = Support(window=self.spec.window, key_padding_mask=key_padding_mask)
        rows = state.value.shape[0]
        grouped = query.reshape(rows, query.shape[0] // rows if rows else 1, query.shape[-1])
        attended = attend(self._inputs(grouped, state, grid, support), self.method)
        attended = _merge_heads(attended)
        return self.output(attended).expand(-1, grouped.shape[1], -1).reshape(query.shape)

    def step(
        self, query: Float[Tensor, "b 1 c"], state: KeyValueState | RunningState | None
    ) -> tuple[Float[Tensor, "b 1 c"], KeyValueState | RunningState]:
        """Decode one token of causal self-attention: its output, and the next state.

        Only relative positions matter, so cached keys are numbered from 0 and the query is the last
        of them. If weights depend on neither the query nor a position, the state is a running sum.
        """
        check_stepwise(self.ndim, "key_stride", self.spec.key_stride)
        terms = self.terms
        if self.spec.window is None and not terms.use_query and not terms.use_position:
            if state is not None and not (isinstance(state, RunningState) and state.terms == terms):
                raise _outdated_state(terms)
            return self._step_running(query, state)
        if isinstance(state, RunningState):
            raise _outdated_state(terms)
        state = self.cache_keys(query, state)
        last = state.value.shape[2] - 1
        grid = Grid((1,), (last + 1,), first_query=last)
        attended = attend(self._inputs(query, state, grid, Support()), self.method)
        return self.output(_merge_heads(attended)), state

    def _step_running(
        self, query: Float[Tensor, "b 1 c"], state: RunningState | None
    ) -> tuple[Float[Tensor, "b 1 c"], RunningState]:
        new = self.cache_keys(query)
        dtype = torch.promote_types(new.value.dtype, torch.float32)
        value = new.value[:, :, 0].to(dtype)
        logit = torch.zeros_like(value[..., :1])
        if new.key is not None and self.key_bias is not None and self.terms.has(Term.KEY):
            product = (new.key[:, :, 0] * self.key_bias).sum(-1, keepdim=True)
            logit = (product * self.scale).to(dtype)
        state = RunningState.empty(value, self.terms) if state is None else state
        state = state.append(logit, value)
        return self.output(state.mean.to(new.value.dtype).flatten(1)[:, None]), state

    def attention_inputs(
        self,
        query: Float[Tensor, "*shape"],
        key: Float[Tensor, "*key_shape"] | None = None,
        *,
        causal: bool = False,
        key_padding_mask: Bool[Tensor, "b k"] | None = None,
        attend_mask: Bool[Tensor, "..."] | None = None,
    ) -> AttentionInputs:
        """The projected operands, coordinates and support of a call of `forward`."""
        key = query if key is None else key
        check_layout(query, "query", self.channels, self.ndim)
        check_layout(key, "key", self.key_channels, self.ndim, batch=query.shape[0])
        stride = self.spec.key_stride
        if stride > 1:
            sizes = spatial_sizes(key, self.ndim)
            key_padding_mask = subsample_mask(key_padding_mask, sizes, stride)
            key = subsample(key, self.ndim, stride)
        grid = Grid(spatial_sizes(query, self.ndim), spatial_sizes(key, self.ndim), stride)
        support = Support(causal, self.spec.window, key_padding_mask, attend_mask)
        projected = self._project(to_tokens(key, self.ndim))
        return self._inputs(to_tokens(query, self.ndim), projected, grid, support)

    def _inputs(
        self, query: Float[Tensor, "b q c"], state: KeyValueState, grid: Grid, support: Support
    ) -> AttentionInputs:
        terms = self.terms
        if terms.use_content and state.key is None:
            raise _outdated_state(terms)
        project = self.query if terms.use_query else None
        operands = Operands(
            value=state.value,
            query=None if project is None else self._split_heads(project(query)),
            key=state.key if terms.use_content else None,
            content_vector=self.key_bias if terms.has(Term.KEY) else None,
            position_vector=self.position_bias if terms.has(Term.POSITION) else None,
            relative=self._relative(state, grid),
            scale=self.scale,
        )
        return AttentionInputs(terms, operands, grid, support)

    def _relative(self, state: KeyValueState, grid: Grid) -> tuple[Float[Tensor, "h _ d"], ...]:
        if self.position is None or not self.terms.use_position:
            return ()
        if state.encodings is None:
            return self.position(grid)
        return (state.encodings.between(grid.relative_range(0)),)

    def _project(self, key: Float[Tensor, "b k c"]) -> KeyValueState:
        # This order decides in which order the gradients of `key` are added up.
        value_heads = self._split_heads(self.value(key))
        project = self.key if self.terms.use_content else None
        key_heads = None if project is None else self._split_heads(project(key))
        return KeyValueState(value_heads, key_heads)

    def _split_heads(self, x: Float[Tensor, "b t c"]) -> Float[Tensor, "b h t d"]:
        return x.unflatten(2, (self.spec.heads, -1)).transpose(1, 2)


def _outdated_state(terms: Term) -> InputError:
    remedy = "start decoding again after switching terms"
    return InputError(f'state was not cached with the terms "{terms}"; {remedy}', "state")


def _merge_heads(x: Float[Tensor, "b h q d"]) -> Float[Tensor, "b q c"]:
    return x.transpose(1, 2).flatten(2)
