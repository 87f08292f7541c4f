"""Deformable attention: a few keys per query and head, at predicted positions.

    DeformableAttention(256, heads=8, points=4)     # maps, (N, C, H, W)
    DeformableAttention(512, ndim=1)                # sequences, (B, T, C)

Shapes: b batch, t tokens, c channels, h heads, s levels, p points, n axes.
"""

import math
from typing import ClassVar, Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from quatrain.nn.checks import Count
from quatrain.nn.mixer_module import MixerSpec
from quatrain.nn.sampling_mixer import SamplingMixer
from quatrain.nn.tokens import to_tokens
from quatrain.ops.deform import Taps
from quatrain.specs import Spec


class DeformableAttentionSpec(Spec, MixerSpec["DeformableAttention"]):
    """Attention over a few sampled positions, whose offsets and weights the query predicts.

    Source: Zhu et al. 2021, https://arxiv.org/abs/2010.04159, equation 2.
    """

    kind: Literal["deformable-attention"] = "deformable-attention"
    heads: Count = 8
    """Parallel attentions, each over a part of the channels."""
    points: Count = 4
    """Sampled positions of each head."""

    divisors: ClassVar[tuple[str, ...]] = ("heads",)


class DeformableAttention(SamplingMixer, spec=DeformableAttentionSpec):
    """Deformable self-attention on a map or sequence; hyper-parameters: `DeformableAttentionSpec`.

    Positions are those of the query plus predicted offsets, (y, x) in cells of the map; the weights
    of a head's points are softmax-normalized. At first the points of each head lie in a direction
    of its own, at distances 1, 2, ..., with equal weights. Learning rates of offsets as in
    `DeformableConv`.

    Source: Zhu et al. 2021, https://arxiv.org/abs/2010.04159, equation 2 and appendix A.4.
    Differs: the paper adds position embeddings to the content that predicts offsets and weights,
        and has maps only; in a causal sequence positions after the query are moved to it.
    """

    spec: DeformableAttentionSpec

    def _create_parameters(self) -> None:
        self._create_layers(self.spec.heads, self.spec.points, reach=1)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Point the offsets of each head in its direction; give all points the same weight."""
        reset_sampling(self.offset, self.weights, self.heads, self.points, self.ndim)

    def _features(self, padded: Float[Tensor, "*padded"]) -> Float[Tensor, "b t c"]:
        return to_tokens(padded, self.ndim)

    def _normalized(self, weights: Float[Tensor, "b t h p"]) -> Float[Tensor, "b t h p"]:
        return weights.softmax(-1)

    def _taps(self, sizes: tuple[int, ...], *, causal: bool) -> Taps:
        """All points at the query, which a kernel of dilation 0 has."""
        del causal
        kernel = (self.points, *[1] * (self.ndim - 1))
        return Taps(sizes, kernel, stride=1, padding=0, dilation=0)


def reset_sampling(
    offset: nn.Linear, weights: nn.Linear, heads: int, points: int, ndim: int, levels: int = 1
) -> None:
    """Set offsets of 1, 2, ... in the direction of each head, and equal weights of all points.

    Directions are evenly spaced on a circle, and their longest coordinate is 1; on a sequence they
    are 1 and -1 in turn.

    Source: Zhu et al. 2021, https://arxiv.org/abs/2010.04159, appendix A.4 (8 heads); the order of
        the directions, and those of other numbers of heads, as in the released code.
    """
    number = torch.arange(heads, dtype=torch.float64)
    if ndim == 1:
        directions = (1 - 2 * (number % 2))[:, None]
    else:
        angles = number * (2 * math.pi / heads)
        directions = torch.stack((angles.sin(), angles.cos()), -1)
        directions = directions / directions.abs().amax(-1, keepdim=True)
    distances = torch.arange(1, points + 1)[:, None]
    with torch.no_grad():
        bias = (directions[:, None, None] * distances).expand(-1, levels, -1, -1)
        offset.bias.copy_(bias.flatten())
    for parameter in (offset.weight, *weights.parameters()):
        nn.init.zeros_(parameter)
