"""DCNv3 and DCNv4: convolutions whose taps have predicted offsets and weights, by groups.

    DCNv3(256, kernel=3)                # maps, (N, C, H, W)
    DCNv4(512, kernel=3, ndim=1)        # sequences, (B, T, C)

All taps share one projection of the values, as in attention, instead of a matrix for each tap.

Shapes: b batch, t tokens, c channels, h groups, p taps over all axes.
"""

from typing import ClassVar, Literal

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import gelu

from quatrain.nn.checks import Count, KernelWidth
from quatrain.nn.mixer_module import MixerSpec
from quatrain.nn.sampling_mixer import SamplingMixer
from quatrain.nn.tokens import to_tokens
from quatrain.ops.deform import Taps
from quatrain.specs import Spec

_EPSILON = 1e-6


class GroupedTapsSpec(Spec):
    """A kernel of sampling positions for each group of channels."""

    kernel: KernelWidth = 3
    """Odd width of the kernel, per axis, and of the depthwise convolution that predicts offsets."""
    groups: Count = 16
    """Groups of channels with separate offsets and weights."""

    divisors: ClassVar[tuple[str, ...]] = ("groups",)


class DCNv3Spec(GroupedTapsSpec, MixerSpec["DCNv3"]):
    """A deformable convolution with softmax-normalized weights of its taps.

    Source: Wang et al. 2023, https://arxiv.org/abs/2211.05778, equation 2.
    """

    kind: Literal["dcnv3"] = "dcnv3"


class DCNv4Spec(GroupedTapsSpec, MixerSpec["DCNv4"]):
    """A deformable convolution with unbounded weights of its taps.

    Source: Xiong et al. 2024, https://arxiv.org/abs/2401.06197.
    """

    kind: Literal["dcnv4"] = "dcnv4"


class _GroupedTaps(SamplingMixer):
    """Taps of a kernel, with offsets and weights from a depthwise convolution."""

    spec: DCNv3Spec | DCNv4Spec

    def _create_parameters(self) -> None:
        kernel = self.spec.kernel
        self._create_layers(self.spec.groups, kernel**self.ndim, reach=kernel)
        layer = nn.Conv1d if self.ndim == 1 else nn.Conv2d
        self.depthwise: nn.Conv1d | nn.Conv2d = layer(
            self.channels, self.channels, kernel, groups=self.channels
        )

    def _taps(self, sizes: tuple[int, ...], *, causal: bool) -> Taps:
        kernel = self.spec.kernel
        padding = kernel - 1 if causal else kernel // 2
        return Taps(sizes, (kernel,) * self.ndim, stride=1, padding=padding, dilation=1)

    def _convolved(self, padded: Float[Tensor, "*padded"]) -> Float[Tensor, "b t c"]:
        """The tokens of the depthwise convolution."""
        if self.ndim == 1:
            return self.depthwise(padded.transpose(1, 2)).transpose(1, 2)
        return to_tokens(self.depthwise(padded), self.ndim)


class DCNv3(_GroupedTaps, spec=DCNv3Spec):
    """DCNv3, the operator of InternImage; hyper-parameters: `DCNv3Spec`.

    `depthwise` and `norm`, followed by GELU, predict offsets (y, x for each tap of each group) and
    weights, a softmax over the taps of a group. At first it is the mean over the window. Learning
    rates of offsets as in `DeformableConv`.

    Source: Wang et al. 2023, https://arxiv.org/abs/2211.05778, equation 2, and section 3.2 (a
        depthwise convolution and a linear layer predict offsets and weights).
    Differs: as in the released code, a norm and GELU follow the depthwise convolution, and values
        are projected, which the equation does not have. The paper has maps only; in a causal
        sequence the taps end at their query, and positions after it are moved to it. Offsets learn
        at a tenth of the rate, as those of all deformable mixers here; the released configurations
        use the full rate or a hundredth.
    """

    def _create_parameters(self) -> None:
        super()._create_parameters()
        self.norm: nn.LayerNorm = nn.LayerNorm(self.channels, eps=_EPSILON)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Set the offsets to zero, and the weights of all taps to the same."""
        for parameter in (*self.offset.parameters(), *self.weights.parameters()):
            nn.init.zeros_(parameter)

    def _features(self, padded: Float[Tensor, "*padded"]) -> Float[Tensor, "b t c"]:
        return gelu(self.norm(self._convolved(padded)))

    def _normalized(self, weights: Float[Tensor, "b t h p"]) -> Float[Tensor, "b t h p"]:
        return weights.softmax(-1)


class DCNv4(_GroupedTaps, spec=DCNv4Spec):
    """DCNv4: DCNv3 without the softmax, norm and GELU; hyper-parameters: `DCNv4Spec`.

    Source: Xiong et al. 2024, https://arxiv.org/abs/2401.06197, abstract (no softmax); without norm
        and GELU as in the released code, where the depthwise convolution is optional.
    Differs: weights are one divided by the number of taps at first, as in DCNv3. The released code
        starts with zeros, with which a mixer in a residual connection whose scale is zero, too,
        has no gradient. Sequences as in `DCNv3`.
    """

    def _create_parameters(self) -> None:
        super()._create_parameters()
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Set the offsets to zero, and the weights to one divided by the number of taps."""
        for parameter in (*self.offset.parameters(), self.weights.weight):
            nn.init.zeros_(parameter)
        nn.init.constant_(self.weights.bias, 1 / self.points)

    def _features(self, padded: Float[Tensor, "*padded"]) -> Float[Tensor, "b t c"]:
        return self._convolved(padded)

    def _normalized(self, weights: Float[Tensor, "b t h p"]) -> Float[Tensor, "b t h p"]:
        return weights
