"""The base class of mixers that sum values sampled at predicted positions, and its decoding state.

The positions of a query are regular ones plus predicted offsets; their weights are predicted too.
In deformable attention all regular positions are the query's own, in DCNv3 and DCNv4 they are the
taps of a kernel.

Shapes: b batch, t tokens, s tokens with the zeros around them, c channels, q queries, h heads
(groups of channels), p points, n axes.
"""

from dataclasses import dataclass
from typing import ClassVar, cast

from einops import rearrange
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn.functional import pad

from quatrain.nn.checks import check_stepwise
from quatrain.nn.convolution import Convolution, InputState, check_input, zero_padding
from quatrain.nn.deformable_conv import SamplingOffsets
from quatrain.nn.layers import Projection
from quatrain.nn.tokens import from_tokens, spatial_sizes, to_tokens
from quatrain.nn.tracing import warn_of_tracing
from quatrain.ops.deform import Taps
from quatrain.ops.precision import upcast
from quatrain.ops.sampled_sum import SampledSumMethod, sampled_sum


@dataclass(frozen=True)
class SamplingState:
    """Decoding state: the values of all tokens, and the last inputs, which predict offsets."""

    values: InputState
    inputs: InputState

    def select(self, rows: Int[Tensor, " n"]) -> "SamplingState":
        """The state of the chosen batch rows, in that order."""
        return SamplingState(self.values.select(rows), self.inputs.select(rows))


class SamplingMixer(Convolution):
    """Base of deformable attention, DCNv3 and DCNv4.

    `value` and `output` are the projections before and after the sum; `offset` and `weights`
    predict the positions and their weights. Offset parameters use a 0.1x learning rate: pass
    `quatrain.nn.param_groups(model, lr)` to the optimizer. Set `method` to choose the algorithm.

    Source: Zhu et al. 2021, https://arxiv.org/abs/2010.04159, equation 2; Wang et al. 2023,
        https://arxiv.org/abs/2211.05778, equation 2.
    """

    lr_scales: ClassVar[dict[str, float]] = {"offset": 0.1}
    heads: int
    points: int
    reach: int
    """Inputs along each axis from which the offsets of a query are predicted."""

    def _create_layers(self, heads: int, points: int, reach: int) -> None:
        self.method: SampledSumMethod = "auto"
        self.heads, self.points, self.reach = heads, points, reach
        self.value: Projection = Projection(self.channels, self.channels)
        self.output: Projection = Projection(self.channels, self.channels)
        self.offset: nn.Linear = nn.Linear(self.channels, heads * points * self.ndim)
        self.weights: nn.Linear = nn.Linear(self.channels, heads * points)

    def _features(self, padded: Float[Tensor, "*padded"]) -> Float[Tensor, "b t c"]:
        """The features that predict offsets and weights, from an input with zeros around it."""
        raise NotImplementedError

    def _normalized(self, weights: Float[Tensor, "b t h p"]) -> Float[Tensor, "b t h p"]:
        raise NotImplementedError

    def _taps(self, sizes: tuple[int, ...], *, causal: bool) -> Taps:
        """The regular sampling positions."""
        raise NotImplementedError

    def _convolve(
        self, x: Float[Tensor, "*shape"], mask: Bool[Tensor, "b t"] | None, *, causal: bool
    ) -> Float[Tensor, "*shape"]:
        warn_of_tracing(self)
        values = zero_padding(self.value(to_tokens(x, self.ndim)), mask)
        sampling = self._sampling(zero_padding(x, mask), causal=causal)
        return from_tokens(self._sum(values, sampling, sampling.positions), x)

    def explain(
        self,
        x: Float[Tensor, "*shape"],
        *,
        causal: bool = False,
        key_padding_mask: Bool[Tensor, "b t"] | None = None,
    ) -> SamplingOffsets:
        """The sampling offsets, and as modulation the weights, that `forward` computes."""
        check_input(x, self.channels, self.ndim, causal=causal)
        return self._sampling(zero_padding(x, key_padding_mask), causal=causal)

    def step(
        self, x: Float[Tensor, "b 1 c"], state: SamplingState | None
    ) -> tuple[Float[Tensor, "b 1 c"], SamplingState]:
        """Decode one token of the causal form: its output, and the next state.

        An offset may reach any earlier token, so the state contains the values of all of them.
        """
        check_stepwise(self.ndim, "stride", 1)
        if state is None:
            state = SamplingState(InputState.empty(x), InputState.empty(x, self.reach - 1))
        values, inputs = state.values.append(self.value(x)), state.inputs.append(x)
        length = values.inputs.shape[1]
        taps = self._taps((length,), causal=True)
        offset, weights = self._predict(inputs.inputs)
        last = SamplingOffsets(offset, taps, weights, causal=True)
        positions = (taps.positions(offset)[length - 1] + offset).clamp(max=length - 1)
        y = self._sum(values.inputs, last, positions)
        return y, SamplingState(values, inputs.last(self.reach - 1))

    def _sampling(self, x: Float[Tensor, "*shape"], *, causal: bool) -> SamplingOffsets:
        zeros = self.reach - 1
        sides = (zeros, 0) if causal else (zeros // 2, zeros - zeros // 2)
        padded = pad(x, (0, 0, *sides) if self.ndim == 1 else sides * 2)
        offset, weights = self._predict(padded)
        taps = self._taps(spatial_sizes(x, self.ndim), causal=causal)
        return SamplingOffsets(offset, taps, weights, causal)

    def _predict(
        self, padded: Float[Tensor, "*padded"]
    ) -> tuple[Float[Tensor, "b t h p n"], Float[Tensor, "b t h p"]]:
        features = self._features(padded)
        offset = rearrange(
            self.offset(features), "b t (h p n) -> b t h p n", h=self.heads, n=self.ndim
        )
        weights = rearrange(self.weights(features), "b t (h p) -> b t h p", h=self.heads)
        return upcast(offset), self._normalized(upcast(weights))

    def _sum(
        self,
        values: Float[Tensor, "b t c"],
        sampling: SamplingOffsets,
        positions: Float[Tensor, "b q h p n"],
    ) -> Float[Tensor, "b q c"]:
        weights = cast(Tensor, sampling.modulation)
        y = sampled_sum(
            rearrange(values, "b t (h d) -> b t h d", h=self.heads),
            positions[:, :, :, None],
            weights[:, :, :, None],
            [sampling.taps.sizes],
            causal=sampling.causal,
            method=self.method,
        )
        return self.output(y.flatten(2))
