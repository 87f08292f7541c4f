"""Transformer attention with four switchable terms, on sequences and maps.

    attention = GeneralizedAttention(256, terms="0110", heads=8)     # maps
    y = attention(x)                                                 # (N, C, H, W)
    attention = GeneralizedAttention(512, terms="1111", ndim=1)      # sequences, (B, T, C)
    y = attention(target, source, key_padding_mask=padding)          # encoder-decoder

Shapes: b batch, q queries, k keys, c channels, h heads, d width of a head, t tokens so far.
"""

from dataclasses import replace
from functools import partial
from typing import cast

import torch
from jaxtyping import Bool, Float
from torch import Tensor
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
from quatrain.nn.position_bias import Alibi, biases_between
from quatrain.nn.projected_attention import ProjectedAttention
from quatrain.nn.relative_position import RelativePositionCache
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
from quatrain.ops.terms import AttentionInputs
from quatrain.specs import Term


class GeneralizedAttention(ProjectedAttention, spec=AttentionSpec):
    r"""Multi-head attention whose logits are the chosen terms of

    $$ z_q^T U^T V^C x_k + z_q^T U^T V^R R_{k-q} + u^T V^C x_k + v^T V^R R_{k-q}. $$

    Hyper-parameters: `AttentionSpec`. It returns W[...] only: residual connections and scales
    belong to the surrounding block.

    `query` is U, `key` V^C, `value` W', `position` V^R (one projection per axis), `output` W,
    `key_bias` u and `position_bias` v; a parameter that no chosen term needs does not exist.
    `rotary`, `query_norm` and `key_norm` change what E1 reads, `relative_bias` gives E4 in place of
    encodings, and `gate` changes the attended values. With `null_key` in the spec, the weights of a
    query are exp(l_k) / (1 + sum exp(l_j)). Set `method` to choose the algorithm; by default `plan`
    chooses. "reference" has derivatives of every order, and forward-mode derivatives.

    Source: Zhu et al. 2019, https://arxiv.org/abs/1904.05873, equations 1, 2 and 8; the four terms
        are those of Dai et al. 2019, https://arxiv.org/abs/1901.02860, section 3.3; logits scaled
        by the root of the width on sequences as Vaswani et al. 2017,
        https://arxiv.org/abs/1706.03762, equation 1.
    Differs: the encodings of the axes of a map are projected separately, summed, and divided by
        the root of 2, as in the released vision code, which equals the variance of the paper's
        concatenation; the output projection has a bias, as there.
    """  # noqa: D415 - the sentence continues in the formula

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
        encodings = biases = None
        if self.position is not None:
            encodings = RelativePositionCache(self.position.between)
        if self.relative_bias is not None:
            biases = RelativePositionCache(
                partial(biases_between, self.relative_bias, new.value.new_empty(0))
            )
        # Contiguous by head, the order in which the products of each step read them.
        return replace(new.contiguous(), encodings=encodings, biases=biases)

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
        support = Support(False, self.spec.window, key_padding_mask, null_key=self.spec.null_key)
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
        of them. If weights depend on neither the query nor a position, or decay with the distance
        at a fixed rate (ALiBi), the state is a running sum.
        """
        check_stepwise(self.ndim, "key_stride", self.spec.key_stride)
        terms = self.terms
        if self._steps_by_sums:
            if state is not None and not (isinstance(state, RunningState) and state.terms == terms):
                raise outdated_state(terms)
            return self._step_running(query, state)
        if isinstance(state, RunningState):
            raise outdated_state(terms)
        state = self.cache_keys(query, state)
        last = state.value.shape[2] - 1
        grid = Grid((1,), (last + 1,), first_query=last)
        support = Support(null_key=self.spec.null_key)
        attended = attend(self._inputs(query, state, grid, support), self.method)
        return self._output(attended, query), state

    @property
    def _steps_by_sums(self) -> bool:
        """Whether a step of decoding changes the weights of all earlier tokens by one factor."""
        terms = self.terms
        decays = isinstance(self.relative_bias, Alibi)
        return (
            self.spec.window is None
            and not terms.use_query
            and (decays or not terms.has(Term.POSITION))
        )

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
        if state is None:
            state = RunningState.empty(value, self.terms, null_key=self.spec.null_key)
        if isinstance(self.relative_bias, Alibi) and self.terms.has(Term.POSITION):
            state = state.decay(self.relative_bias.slopes(value))
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
        support = Support(
            causal, self.spec.window, key_padding_mask, attend_mask, self.spec.null_key
        )
        positions = grid.key_coordinates(key.device) if self._is_paired else None
        projected = self._project(to_tokens(key, self.ndim), positions)
        return self._inputs(to_tokens(query, self.ndim), projected, grid, support)
