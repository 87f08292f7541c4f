"""Transformer attention with four switchable terms, on sequences and maps.

    attention = GeneralizedAttention(256, terms="0110", heads=8)     # maps
    y = attention(x)                                                 # (N, C, H, W)
    attention = GeneralizedAttention(512, terms="1111", ndim=1)      # sequences, (B, T, C)
    y = attention(target, source, key_padding_mask=padding)          # encoder-decoder

Shapes: b batch, q queries, k keys, c channels, h heads, d width of a head, t tokens so far.
"""

from dataclasses import replace
from typing import Any, ClassVar, cast

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.fx import Proxy

from quatrain.nn.attention_spec import AttentionSpec
from quatrain.nn.attention_state import (
    Explanation,
    KeyValueState,
    QueryPosition,
    RunningState,
    outdated_state,
)
from quatrain.nn.checks import check_stepwise
from quatrain.nn.layers import Projection
from quatrain.nn.mixer_module import MixerModule
from quatrain.nn.query_key import HeadNorm, Rotary
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
from quatrain.ops.positions import Grid
from quatrain.ops.support import Support
from quatrain.ops.terms import AttentionInputs, Operands
from quatrain.specs import Term


class GeneralizedAttention(MixerModule, spec=AttentionSpec):
    r"""Multi-head attention whose logits are the chosen terms of

    $$ z_q^T U^T V^C x_k + z_q^T U^T V^R R_{k-q} + u^T V^C x_k + v^T V^R R_{k-q}. $$

    Hyper-parameters: `AttentionSpec`. It returns W[...] only: residual connections and scales
    belong to the surrounding block.

    `query` is U, `key` V^C, `value` W', `position` V^R (one projection per axis), `output` W,
    `key_bias` u and `position_bias` v; a parameter that no chosen term needs does not exist.
    `rotary`, `query_norm` and `key_norm` change what E1 reads, and `gate` the attended values. Set
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
    rotary_wavelength: ClassVar[dict[int, float]] = {1: 10_000.0, 2: 100.0}
    """By the number of axes."""

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
        self._create_extensions(width)

    def _create_extensions(self, width: int) -> None:
        spec, ndim = self.spec, self.ndim
        self.rotary: Rotary | None = None
        if spec.rotary is not None:
            default = self.rotary_wavelength[ndim]
            wavelength = spec.rotary_wavelength or default
            self.rotary = Rotary(spec.rotary, spec.heads, width, ndim, wavelength)
        # Random queries and keys then have logits of variance 1.
        initial = 1 / (self.scale * width**0.5)
        norms = spec.qk_norm
        self.query_norm: HeadNorm | None = HeadNorm(spec.heads, width, initial) if norms else None
        self.key_norm: HeadNorm | None = HeadNorm(spec.heads, width) if norms else None
        self.gate: Projection | None = (
            Projection(self.channels, self.channels) if spec.gate else None
        )

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Restore a pickled module, also one of a version without extensions."""
        super().__setstate__(state)
        for name in ("rotary", "query_norm", "key_norm", "gate"):
            self._modules.setdefault(name, None)

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
        return from_tokens(self._output(attended, query), query)

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
        return Explanation.of(inputs, at)

    def cache_keys(
        self, key: Float[Tensor, "b k c"], state: KeyValueState | None = None
    ) -> KeyValueState:
        """Project keys and values once; with `state`, append them, within the window."""
        positions = None
        if self._is_paired:
            first = 0 if state is None else state.tokens
            positions = torch.arange(first, first + key.shape[1], device=key.device)[:, None]
        new = self._project(key, positions)
        if state is not None:
            return state.append(new, self.spec.window)
        encodings = None if self.position is None else EncodingCache(self.position.between)
        # Contiguous by head, the order in which the products of each step read them.
        return replace(new.contiguous(), encodings=encodings)

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
        output = self._output(attended, grouped)
        return output.expand(-1, grouped.shape[1], -1).reshape(query.shape)

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
                raise outdated_state(terms)
            return self._step_running(query, state)
        if isinstance(state, RunningState):
            raise outdated_state(terms)
        state = self.cache_keys(query, state)
        last = state.value.shape[2] - 1
        grid = Grid((1,), (last + 1,), first_query=last)
        attended = attend(self._inputs(query, state, grid, Support()), self.method)
        return self._output(attended, query), state

    def _step_running(
        self, query: Float[Tensor, "b 1 c"], state: RunningState | None
    ) -> tuple[Float[Tensor, "b 1 c"], RunningState]:
        new = self.cache_keys(query)
        dtype = torch.promote_types(new.value.dtype, torch.float32)
        value = new.value[:, :, 0].to(dtype)
        logit = torch.zeros_like(value[..., :1])
        if self.terms.has(Term.KEY):
            key, vector = cast(Tensor, new.key), cast(Tensor, self.key_bias)
            product = (key[:, :, 0] * vector).sum(-1, keepdim=True)
            logit = (product * self.scale).to(dtype)
        state = RunningState.empty(value, self.terms) if state is None else state
        state = state.append(logit, value)
        return self._output(state.mean.to(new.value.dtype)[:, :, None], query), state

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
        positions = grid.key_coordinates(key.device) if self._is_paired else None
        projected = self._project(to_tokens(key, self.ndim), positions)
        return self._inputs(to_tokens(query, self.ndim), projected, grid, support)

    def _inputs(
        self, query: Float[Tensor, "b q c"], state: KeyValueState, grid: Grid, support: Support
    ) -> AttentionInputs:
        terms = self.terms
        project = self.query if terms.use_query else None
        query_heads = None if project is None else self._split_heads(project(query))
        content = self._paired_content if self._is_paired else self._shared_content
        operands = Operands(
            value=state.value,
            position_vector=self.position_bias if terms.has(Term.POSITION) else None,
            relative=self._relative(state, grid),
            scale=self.scale,
            **content(query_heads, state, grid),
        )
        return AttentionInputs(terms, operands, grid, support)

    def _shared_content(
        self, query: Float[Tensor, "b h q d"] | None, state: KeyValueState, _: Grid
    ) -> dict[str, Tensor | None]:
        """The operands of E1 and E3, which read the same keys."""
        terms = self.terms
        if terms.use_content and state.key is None:
            raise outdated_state(terms)
        return {
            "query": query,
            "key": state.key if terms.use_content else None,
            "content_vector": self.key_bias if terms.has(Term.KEY) else None,
        }

    def _paired_content(
        self, query: Float[Tensor, "b h q d"] | None, state: KeyValueState, grid: Grid
    ) -> dict[str, Tensor | None]:
        """The operands of E1, which has queries and keys of its own, of E3, and the query of E2."""
        terms, query = self.terms, cast(Tensor, query)
        if state.paired_key is None or (terms.has(Term.KEY) and state.key_logit is None):
            raise outdated_state(terms)
        positions = grid.query_coordinates(query.device) + state.first
        return {
            "query": query if terms.has(Term.QUERY_POSITION) else None,
            "paired_query": self._pair(query, self.query_norm, positions),
            "paired_key": state.paired_key,
            "key_logit": state.key_logit if terms.has(Term.KEY) else None,
        }

    @property
    def _is_paired(self) -> bool:
        """Whether E1 has queries and keys of its own."""
        extended = self.rotary is not None or self.query_norm is not None
        return extended and self.terms.has(Term.QUERY_KEY)

    def _pair(
        self,
        x: Float[Tensor, "b h t d"],
        norm: HeadNorm | None,
        positions: Int[Tensor, "#t ndim"] | None,
    ) -> Float[Tensor, "b h t d"]:
        """Queries or keys as E1 reads them."""
        x = x if norm is None else norm(x)
        return x if self.rotary is None or positions is None else self.rotary(x, positions)

    def _output(
        self, attended: Float[Tensor, "b h #q d"], query: Float[Tensor, "..."]
    ) -> Float[Tensor, "b q c"]:
        """The output of attended values, through the gate if there is one."""
        merged = attended.transpose(1, 2).flatten(2)
        if self.gate is not None:
            merged = merged * self.gate(to_tokens(query, self.ndim)).sigmoid()
        return self.output(merged)

    def _relative(self, state: KeyValueState, grid: Grid) -> tuple[Float[Tensor, "h _ d"], ...]:
        if self.position is None or not self.terms.use_position:
            return ()
        if state.encodings is None:
            return self.position(grid)
        return (state.encodings.between(grid.relative_range(0)),)

    def _project(
        self, key: Float[Tensor, "b k c"], positions: Int[Tensor, "k ndim"] | None
    ) -> KeyValueState:
        # This order decides in which order the gradients of `key` are added up.
        value_heads = self._split_heads(self.value(key))
        project = self.key if self.terms.use_content else None
        key_heads = None if project is None else self._split_heads(project(key))
        if key_heads is None or not self._is_paired:
            return KeyValueState(value_heads, key_heads)
        paired_key, logit = self._pair(key_heads, self.key_norm, positions), None
        if self.key_bias is not None and self.terms.has(Term.KEY):
            logit = (key_heads @ self.key_bias[..., None].to(key_heads.dtype))[..., 0]
        return KeyValueState(value_heads, paired_key=paired_key, key_logit=logit)

    def _split_heads(self, x: Float[Tensor, "b t c"]) -> Float[Tensor, "b h t d"]:
        return x.unflatten(2, (self.spec.heads, -1)).transpose(1, 2)
