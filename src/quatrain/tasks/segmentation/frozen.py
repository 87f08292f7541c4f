"""Segmentation with a frozen backbone, which computes each image once: no new images in training.

A training image and its flip are two images. Random scales and crops would be new ones in each
step, which would be computed and kept each time, so they are refused.
"""

from collections.abc import Iterable
from typing import Annotated

from pydantic import Discriminator, Tag

from quatrain.models.frozen_backbone import is_frozen
from quatrain.models.frozen_segmenter import FrozenSegmenter, FrozenSegmenterSpec
from quatrain.models.segmenter import Segmenter, SegmenterSpec
from quatrain.specs import SpecError
from quatrain.tasks.segmentation.augment import SegmentationAugmentation
from quatrain.tasks.segmentation.inference import Testing
from quatrain.tasks.vision import ImageSize

AnySegmenter = Segmenter | FrozenSegmenter
"""A network of the segmentation task."""


SegmentationModel = Annotated[
    Annotated[SegmenterSpec, Tag("trained")] | Annotated[FrozenSegmenterSpec, Tag("frozen")],
    Discriminator(lambda model: "frozen" if is_frozen(model) else "trained"),
]
"""The spec of a segmenter; a dictionary without the kind "frozen" is a `SegmenterSpec`."""


def check_images(augmentation: SegmentationAugmentation, testing: Testing) -> None:
    """Check that images are neither scaled at random nor cut into tiles.

    Raises:
        SpecError: if they are.
    """
    smallest, largest = augmentation.smallest, augmentation.largest
    if smallest != largest:
        text = f"smallest={smallest} and largest={largest} scale images at random"
        reason = "a frozen backbone computes each new image again; set both to one number"
        raise SpecError(f"{text}, and {reason}", "SegmentationAugmentation.largest")
    if testing.kind == "tiles":
        text = "testing by tiles cuts held-out images, and a frozen backbone has whole ones"
        raise SpecError(f"{text}; use WholeImageSpec()", "SegmentationSpec.testing")


def check_crop(augmentation: SegmentationAugmentation, sizes: Iterable[ImageSize]) -> None:
    """Check that no training image of these sizes is cropped, as crops are at random places.

    Raises:
        SpecError: if one is, with the smallest crop that cuts none.
    """
    scaled = [augmentation.scaled_size(size.height, size.width) for size in sizes]
    height, width = (max(sides) for sides in zip(*scaled, strict=True))
    rows, columns = augmentation.crop_size
    if rows < height or columns < width:
        text = f"crop={augmentation.crop} cuts training images of {width} x {height} at random"
        reason = f"a frozen backbone computes each new image again; use crop=({height}, {width})"
        raise SpecError(f"{text}, and {reason}", "SegmentationAugmentation.crop")
