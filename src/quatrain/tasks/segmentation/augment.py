"""The paper's augmentation for segmentation: random scaling, cropping and horizontal flips.

    scale by a random factor from 0.7...2, pad to the crop size if smaller, crop at a random place,
    flip with probability 1/2

Padding has the mean colour of ImageNet and is ignored by the loss. Random numbers come from the
generator that is passed in, never from torch's global state.

Source: Zhu et al. 2019, https://arxiv.org/abs/1904.05873, section 4.1: scales from 0.7 to 2, crops
of 769 x 769, flips.
Differs: CCNet, on which the paper builds, draws the factor from steps of 0.1; here it is
continuous.
"""

from collections.abc import Sequence
from dataclasses import replace

import torch
from pydantic import Field, model_validator
from torch import Tensor
from torchvision import tv_tensors
from torchvision.transforms.v2 import InterpolationMode, functional

from quatrain.specs import Spec, SpecError
from quatrain.tasks.segmentation.corpus import IGNORE, SegmentationSample

_MEAN_COLOR = (124.0, 116.0, 104.0)


class SegmentationAugmentation(Spec):
    """Scaling, cropping and flips of training images; held-out images are unchanged."""

    smallest: float = Field(default=0.7, gt=0)
    """The smallest scale factor."""
    largest: float = Field(default=2.0, gt=0)
    """The largest scale factor."""
    crop: int | tuple[int, int] = 769
    """Side of a square crop in pixels, or its height and width."""
    flip: float = Field(default=0.5, ge=0, le=1)
    """Probability of a horizontal flip."""

    @model_validator(mode="after")
    def _factors_in_order(self) -> "SegmentationAugmentation":
        if self.largest < self.smallest:
            message = f"largest={self.largest} is less than smallest={self.smallest}; exchange them"
            raise SpecError(message, "SegmentationAugmentation.largest")
        return self

    @model_validator(mode="after")
    def _crop_has_pixels(self) -> "SegmentationAugmentation":
        if min(self.crop_size) < 1:
            message = f"crop={self.crop} has no pixel; use 1 or more"
            raise SpecError(message, "SegmentationAugmentation.crop")
        return self

    @property
    def crop_size(self) -> tuple[int, int]:
        """Height and width of the crop."""
        return (self.crop, self.crop) if isinstance(self.crop, int) else self.crop

    def scaled_size(self, height: int, width: int) -> tuple[int, int]:
        """Height and width of an image after scaling by the largest factor."""
        return _scaled((height, width), self.largest)

    def train(self, sample: SegmentationSample, generator: torch.Generator) -> SegmentationSample:
        """A training sample of the size of the crop."""
        scale, down, across, flip = torch.rand(4, generator=generator).tolist()
        factor = self.smallest + scale * (self.largest - self.smallest)
        height, width = _scaled(sample.label.shape, factor)
        image: Tensor = tv_tensors.Image(sample.image)
        # Labels fit into a byte, which resizes eight times as fast as int64.
        label: Tensor = tv_tensors.Mask(sample.label[None].to(torch.uint8))
        image = functional.resize(image, [height, width], antialias=True)
        label = functional.resize(
            label, [height, width], interpolation=InterpolationMode.NEAREST_EXACT
        )
        rows, columns = self.crop_size
        padding = [0, 0, max(columns - width, 0), max(rows - height, 0)]
        image = functional.pad(image, padding, fill=list(_MEAN_COLOR))
        label = functional.pad(label, padding, fill=IGNORE)
        margins = (label.shape[1] - rows, label.shape[2] - columns)
        top, left = (int(u * (m + 1)) for u, m in zip((down, across), margins, strict=True))
        image = functional.crop(image, top, left, rows, columns)
        label = functional.crop(label, top, left, rows, columns)
        if flip < self.flip:
            image, label = functional.horizontal_flip(image), functional.horizontal_flip(label)
        return replace(sample, image=_plain(image), label=_plain(label)[0].long())


def _scaled(size: Sequence[int], factor: float) -> tuple[int, int]:
    height, width = (max(round(side * factor), 1) for side in size)
    return height, width


def _plain(tensor: Tensor) -> Tensor:
    return tensor.as_subclass(Tensor).contiguous()
