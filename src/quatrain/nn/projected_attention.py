"""The parameters of attention, and its operands: projections, split by head.

Which parameters exist follows from the terms and the extensions of the spec; which of them a call
reads, from the terms that are on. `GeneralizedAttention` computes with the operands.

Shapes: b batch, q queries, k keys, c channels, h heads, d width of a head, t tokens so far.
"""

from typing import Any, ClassVar, cast

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from quatrain.nn.attention_spec import AttentionSpec
from quatrain.nn.attention_state import KeyValueState, outdated_state
from quatrain.nn.layers import Projection
from quatrain.nn.mixer_module import MixerModule
from quatrain.nn.position_bias import PositionBias, build_position_bias
from quatrain.nn.query_key import HeadNorm, Rotary
from quatrain.nn.relative_position import RelativePosition
from quatrain.nn.tokens import to_tokens
from quatrain.ops.attention import Method
from quatrain.ops.positions import Grid
from quatrain.ops.support import Support
from quatrain.ops.terms import AttentionInputs, Operands
from quatrain.specs import Term


class ProjectedAttention(MixerModule):
    """The base of attention: its parameters, and the operands of a call.

    Source: Zhu et al. 2019, https://arxiv.org/abs/1904.05873, equation 2.
    """

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
            if spec.reads_encodings
            else None
        )
        self.key_bias: nn.Parameter | None = bias() if terms.has(Term.KEY) else None
        by_encodings = terms.has(Term.POSITION) and spec.position is None
        self.position_bias: nn.Parameter | None = bias() if by_encodings else None
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
        self.relative_bias: PositionBias | None = build_position_bias(spec, ndim)

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Restore a pickled module, also one of a version without extensions."""
        super().__setstate__(state)
        for name in ("rotary", "query_norm", "key_norm", "gate", "relative_bias"):
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
            **self._tables(state, grid),
            **content(query_heads, state, grid),
        )
        return AttentionInputs(terms, operands, grid, support)

    def _shared_content(
        self, query: Float[Tensor, "b h q d"] | None, state: KeyValueState, _: Grid
    ) -> dict[str, Any]:
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
    ) -> dict[str, Any]:
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
        return not self.spec.shares_keys and self.terms.has(Term.QUERY_KEY)

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
        terms, by_table = self.terms, self.relative_bias is not None
        reads = terms.has(Term.QUERY_POSITION) if by_table else terms.use_position
        if self.position is None or not reads:
            return ()
        if state.encodings is None:
            return self.position(grid)
        return (state.encodings.between(grid.relative_range(0)),)

    def _tables(self, state: KeyValueState, grid: Grid) -> dict[str, Any]:
        """The operands of E4 where no encodings give it."""
        if self.relative_bias is None or not self.terms.has(Term.POSITION):
            return {}
        if state.biases is not None:
            return {"table": (state.biases.between(grid.relative_range(0)),)}
        bias = self.relative_bias(grid, state.value)
        return {"joint_table": bias} if isinstance(bias, Tensor) else {"table": bias}

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
