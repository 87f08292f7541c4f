"""Multi-scale deformable attention: queries read a few sampled positions of several maps.

    attention = MultiScaleDeformableAttention(256, levels=4)
    y = attention(query, reference_points, maps)              # (B, Q, 256)

Shapes: b batch, q queries, c channels, s levels, h heads, p points, n axes, l positions
of all levels.
"""

from collections.abc import Sequence
from typing import ClassVar, Literal

import torch
from einops import rearrange
from jaxtyping import Bool, Float
from torch import Tensor, nn

from quatrain.nn.checks import Count
from quatrain.nn.convolution import zero_padding
from quatrain.nn.deformable_attention import reset_sampling
from quatrain.nn.layers import Projection
from quatrain.nn.mixer_module import MixerModule, MixerSpec
from quatrain.nn.tokens import check_layout, spatial_sizes, to_tokens
from quatrain.nn.tracing import warn_of_tracing
from quatrain.ops.precision import upcast
from quatrain.ops.sampled_sum import SampledSumMethod, sampled_sum
from quatrain.specs import InputError, Spec


class MultiScaleDeformableAttentionSpec(Spec, MixerSpec["MultiScaleDeformableAttention"]):
    """Attention of queries over sampled positions of several maps.

    Source: Zhu et al. 2021, https://arxiv.org/abs/2010.04159, equation 3.
    """

    kind: Literal["multi-scale-deformable-attention"] = "multi-scale-deformable-attention"
    levels: Count = 4
    """Maps that are read."""
    heads: Count = 8
    """Parallel attentions, each over a part of the channels."""
    points: Count = 4
    """Sampled positions of each head on each map."""

    divisors: ClassVar[tuple[str, ...]] = ("heads",)


class MultiScaleDeformableAttention(MixerModule, spec=MultiScaleDeformableAttentionSpec):
    """Deformable attention over several maps.

    Hyper-parameters: `MultiScaleDeformableAttentionSpec`.

    Each query has a reference point, a predicted offset of each point of each head on each level,
    and weights, a softmax over all of these. `key_channels` are the channels of the maps. Initial
    values and learning rates of offsets are those of `DeformableAttention`. Set `method` to choose
    the algorithm.

    Source: Zhu et al. 2021, https://arxiv.org/abs/2010.04159, equation 3 and appendix A.4.
    Differs: coordinates and offsets are ordered y, x; reference points are no boxes.

    Example:
        >>> attention = quatrain.MultiScaleDeformableAttention(256, levels=2)
        >>> maps = torch.randn(1, 256, 20, 30), torch.randn(1, 256, 10, 15)
        >>> y = attention(torch.randn(1, 100, 256), torch.rand(1, 100, 1, 2), maps)
    """

    lr_scales: ClassVar[dict[str, float]] = {"offset": 0.1}
    takes_keys: ClassVar[bool] = True
    spec: MultiScaleDeformableAttentionSpec

    def _create_parameters(self) -> None:
        spec = self.spec
        self.method: SampledSumMethod = "auto"
        self.value: Projection = Projection(self.key_channels, self.channels)
        self.output: Projection = Projection(self.channels, self.channels)
        samples = spec.heads * spec.levels * spec.points
        self.offset: nn.Linear = nn.Linear(self.channels, samples * self.ndim)
        self.weights: nn.Linear = nn.Linear(self.channels, samples)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Point the offsets of each head in its direction; give all points the same weight."""
        spec = self.spec
        reset_sampling(
            self.offset, self.weights, spec.heads, spec.points, self.ndim, levels=spec.levels
        )

    def forward(
        self,
        query: Float[Tensor, "b q c"],
        reference_points: Float[Tensor, "b q #s n"],
        maps: Sequence[Float[Tensor, "b ..."]],
        *,
        key_padding_masks: Sequence[Bool[Tensor, "b _"] | None] | None = None,
    ) -> Float[Tensor, "b q c"]:
        """Attend from each query to the maps.

        Args:
            query: the content of the queries, with their position embeddings.
            reference_points: (y, x) of each query between 0 and 1, where 0 and 1 are the edges of
                the map; (B, Q, levels, 2), or (B, Q, 1, 2) for all levels.
            maps: one (N, C, H, W) for each level; sequences (B, T, C) if `ndim` is 1.
            key_padding_masks: for each level True at padding, which is read as zero, (N, H * W); or
                None.

        Raises:
            InputError: if a shape or mask does not fit.
        """
        warn_of_tracing(self)
        masks = [None] * len(maps) if key_padding_masks is None else list(key_padding_masks)
        self._check(query, reference_points, maps, masks)
        levels = [
            zero_padding(self.value(to_tokens(x, self.ndim)), mask)
            for x, mask in zip(maps, masks, strict=True)
        ]
        sizes = [spatial_sizes(x, self.ndim) for x in maps]
        heads, n = self.spec.heads, self.ndim
        offset = rearrange(
            upcast(self.offset(query)), "b q (h s p n) -> b q h s p n", h=heads, s=len(maps), n=n
        )
        weights = rearrange(upcast(self.weights(query)), "b q (h m) -> b q h m", h=heads)
        reference = reference_points[:, :, None, :, None].to(offset.dtype)
        one = offset.new_ones(())  # a tensor made of sizes would fix them in an exported graph
        scale = torch.stack([one * length for size in sizes for length in size]).view(-1, 1, n)
        y = sampled_sum(
            rearrange(torch.cat(levels, 1), "b l (h d) -> b l h d", h=heads),
            reference * scale - 0.5 + offset,
            weights.softmax(-1).unflatten(-1, (len(maps), -1)),
            sizes,
            method=self.method,
        )
        return self.output(y.flatten(2))

    def _check(
        self, query: Tensor, reference: Tensor, maps: Sequence[Tensor], masks: Sequence[object]
    ) -> None:
        levels = self.spec.levels
        for name, items in (("maps", maps), ("key_padding_masks", masks)):
            if len(items) != levels:
                text = f"{name} has {len(items)} levels, and this module was built with {levels}"
                raise InputError(f"{text}; pass one for each level", name)
        check_layout(query, "query", self.channels, 1)
        for x in maps:
            check_layout(x, "maps", self.key_channels, self.ndim, query.shape[0])
            if 0 in x.shape[1:]:
                raise InputError(
                    f"maps has a level of shape {tuple(x.shape)}, which is empty", "maps"
                )
        batch, count = query.shape[:2]
        # A list, since sizes of an exported graph are symbols, which have no hash.
        if tuple(reference.shape) not in [(batch, count, s, self.ndim) for s in (1, levels)]:
            text = f"reference_points of shape {tuple(reference.shape)} does not fit the queries"
            expected = (batch, count, levels, self.ndim)
            raise InputError(f"{text}; pass {expected}, or 1 for all levels", "reference_points")
