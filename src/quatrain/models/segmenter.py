"""Segmenter: a dilated ResNet with mixers, an additional attention module, and a class per pixel.

    segmenter = SegmenterSpec(backbone=ResNetSpec(output_stride=8, mixer=mixer)).build(classes=19)
    logits = segmenter(images)                 # uint8 (N, 3, H, W) -> (N, 19, H, W)
    main, auxiliary = segmenter.scores(images) # both (N, 19, H/8, W/8), for training

    conv5 -> 3 x 3 -> attention -> 3 x 3 -> concatenated with conv5 -> 3 x 3 -> classes
    conv4 -> 3 x 3 -> classes, in training (auxiliary head)

Shapes: n images, h w their size, c classes, k channels of a map, y x its size.
"""

from collections.abc import Callable
from typing import ClassVar, Literal, NamedTuple

import torch
from jaxtyping import Float, UInt8
from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import interpolate

from quatrain.models.resnet import ResNet, ResNetSpec, norm_layer, normalize_images
from quatrain.nn.layers import Dropout, GatedResidual
from quatrain.nn.mixers import split_mixer
from quatrain.nn.parameters import initialize_by_name
from quatrain.specs import Spec
from quatrain.weights import SavedModule

HeadNorm = Literal["synchronized", "batch", "group"]


class SegmenterSpec(Spec):
    """A segmenter; the defaults are the paper's, without weights from ImageNet.

    Source: Zhu et al. 2019, https://arxiv.org/abs/1904.05873, section 4.1.
    """

    backbone: ResNetSpec = ResNetSpec(output_stride=8)
    """The residual network, and the mixer in its blocks."""
    channels: int = Field(default=512, ge=1)
    """Width of the layers after the backbone."""
    extra: bool = True
    """Whether the mixer's attention or dynamic convolution also follows the backbone."""
    dropout: float = Field(default=0.1, ge=0, lt=1)
    """Dropout before the classifier."""
    norm: HeadNorm = "synchronized"
    """Normalization of the layers after the backbone: over the batch of all processes (with several
    processes on GPUs only), over the batch of each, or over groups of channels."""

    def build(self, classes: int) -> "Segmenter":
        """Create the network, with weights from torch's random state, on the default device."""
        return Segmenter(self, classes)


class Scores(NamedTuple):
    """Logits of all classes, at the resolution of the maps; None without auxiliary head."""

    main: Float[Tensor, "n c y x"]
    auxiliary: Float[Tensor, "n c y x"] | None


class Segmenter(SavedModule):
    """Semantic segmentation of uint8 images.

    Source: Huang et al. 2019, https://arxiv.org/abs/1811.11721, section 3.2 and its released
        code, whose criss-cross attention the paper replaces by its own module of 512 channels;
        the auxiliary head as Zhao et al. 2017, https://arxiv.org/abs/1612.01105, section 3.3.
    Differs: the stem of the backbone is torchvision's 7 x 7 convolution, so that published weights
        load; CCNet has three 3 x 3 convolutions.
    """

    spec_class: ClassVar[type[Spec]] = SegmenterSpec
    spec: SegmenterSpec

    def __init__(self, spec: SegmenterSpec, classes: int) -> None:
        super().__init__()
        # Drawn before the backbone, whose mixers draw different amounts of random numbers.
        seed = int(torch.randint(2**62, (), device="cpu"))
        self.spec = spec
        self.classes = classes
        self.backbone: ResNet = spec.backbone.build()
        self.head: _Head = _Head(spec, self.backbone.channels["conv5"], classes)
        self.auxiliary: nn.Sequential = nn.Sequential(
            conv_layer(self.backbone.channels["conv4"], spec.channels, spec.norm),
            Dropout(spec.dropout),
            nn.Conv2d(spec.channels, classes, 1),
        )
        initialize_by_name(self.head, seed)
        initialize_by_name(self.auxiliary, seed)

    def _build_arguments(self) -> dict[str, int]:
        return {"classes": self.classes}

    def forward(self, images: UInt8[Tensor, "n 3 h w"]) -> Float[Tensor, "n c h w"]:
        """Logits of the classes at each pixel."""
        scores = self.head(self.backbone(normalize_images(images))["conv5"])
        return resize_scores(scores, (images.shape[2], images.shape[3]))

    def scores(self, images: UInt8[Tensor, "n 3 h w"]) -> Scores:
        """Logits at each position of conv5; the auxiliary head's, at each of conv4, in training."""
        maps = self.backbone(normalize_images(images))
        auxiliary = self.auxiliary(maps["conv4"]) if self.training else None
        return Scores(self.head(maps["conv5"]), auxiliary)


def resize_scores(
    scores: Float[Tensor, "n c y x"], size: tuple[int, int]
) -> Float[Tensor, "n c h w"]:
    """Scores resized to `size` (height, width) by bilinear interpolation.

    Differs: align_corners is False, consistent with the strides of the convolutions; the released
        code of CCNet sets it.
    """
    return interpolate(scores, size, mode="bilinear", align_corners=False)


class _Head(nn.Module):
    """The head on conv5, with the module that the paper adds after the backbone."""

    def __init__(self, spec: SegmenterSpec, channels: int, classes: int) -> None:
        super().__init__()
        _, attention = split_mixer(spec.backbone.mixer)
        self.enter: nn.Sequential = conv_layer(channels, spec.channels, spec.norm)
        self.extra: GatedResidual | None = (
            None
            if attention is None or not spec.extra
            else GatedResidual(attention.build(spec.channels, ndim=2))
        )
        self.leave: nn.Sequential = conv_layer(spec.channels, spec.channels, spec.norm)
        self.join: nn.Sequential = conv_layer(channels + spec.channels, spec.channels, spec.norm)
        self.dropout: Dropout = Dropout(spec.dropout)
        self.classify: nn.Conv2d = nn.Conv2d(spec.channels, classes, 1)

    def forward(self, conv5: Float[Tensor, "n k y x"]) -> Float[Tensor, "n c y x"]:
        x = self.enter(conv5)
        if self.extra is not None:
            x = self.extra(x)  # noqa: S610 - not the Django method
        x = self.join(torch.cat((conv5, self.leave(x)), dim=1))
        return self.classify(self.dropout(x))


def conv_layer(inputs: int, outputs: int, norm: HeadNorm) -> nn.Sequential:
    """A 3 x 3 convolution, its normalization and ReLU, as in the heads of segmenters."""
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, padding=1, bias=False), HEAD_NORMS[norm](outputs), nn.ReLU()
    )


HEAD_NORMS: dict[HeadNorm, Callable[[int], nn.Module]] = {
    "synchronized": nn.SyncBatchNorm,
    "batch": nn.BatchNorm2d,
    "group": norm_layer("group"),
}
"""The constructors of normalization layers, which take the number of channels."""
