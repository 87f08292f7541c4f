"""What the paper does to a training image before a segmenter sees it: scale, crop, flip.

    scale by a factor drawn from 0.7...2, fill up to the crop where it got smaller, cut out a crop
    at a place drawn at random, and mirror one in two

Filled pixels have the mean colour of ImageNet and are ignored. Randomness comes from a generator
that is passed in, and torch's own is not touched.

Source: Zhu et al. 2019, https://arxiv.org/abs/1904.05873, section 4.1: scales from 0.7 to 2, crops
of 769 x 769, flips.
Differs: CCNet, on which the paper builds, draws the factor from steps of 0.1; here every factor in
between may come.
"""

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
    """How training images are scaled, cropped and flipped; held-out images stay as they are."""

    smallest: float = Field(default=0.7, gt=0)
    """The least factor by which an image is scaled."""
    largest: float = Field(default=2.0, gt=0)
    crop: int = Field(default=769, ge=1)
    """Height and width, in pixels, of what is cut out."""
    flip: float = Field(default=0.5, ge=0, le=1)
    """How often an image is mirrored, left for right."""

    @model_validator(mode="after")
    def _factors_in_order(self) -> "SegmentationAugmentation":
        if self.largest < self.smallest:
            raise SpecError(
                "SegmentationAugmentation.largest",
                self.largest,
                f"at least the smallest factor, {self.smallest}",
                "exchange the two",
            )
        return self

    def train(self, sample: SegmentationSample, generator: torch.Generator) -> SegmentationSample:
        """A training sample of (crop, crop) pixels."""
        scale, down, across, mirror = torch.rand(4, generator=generator).tolist()
        factor = self.smallest + scale * (self.largest - self.smallest)
        height, width = (max(round(side * factor), 1) for side in sample.label.shape)
        image: Tensor = tv_tensors.Image(sample.image)
        # All that a label holds fits into a byte, which resizes eight times as fast.
        label: Tensor = tv_tensors.Mask(sample.label[None].to(torch.uint8))
        image = functional.resize(image, [height, width], antialias=True)
        label = functional.resize(
            label, [height, width], interpolation=InterpolationMode.NEAREST_EXACT
        )
        missing = [0, 0, max(self.crop - width, 0), max(self.crop - height, 0)]
        image = functional.pad(image, missing, fill=list(_MEAN_COLOR))
        label = functional.pad(label, missing, fill=IGNORE)
        room = [side - self.crop for side in label.shape[1:]]
        top, left = (int(share * (r + 1)) for share, r in zip((down, across), room, strict=True))
        image = functional.crop(image, top, left, self.crop, self.crop)
        label = functional.crop(label, top, left, self.crop, self.crop)
        if mirror < self.flip:
            image, label = functional.horizontal_flip(image), functional.horizontal_flip(label)
        return replace(sample, image=_plain(image), label=_plain(label)[0].long())


def _plain(tensor: Tensor) -> Tensor:
    return tensor.as_subclass(Tensor).contiguous()
