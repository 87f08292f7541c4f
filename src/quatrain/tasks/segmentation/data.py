"""The kinds of segmentation data: files, or digit scenes with a class for each digit."""

import colorsys
from functools import lru_cache, partial
from pathlib import Path
from typing import Annotated

import torch
from jaxtyping import Int64, UInt8
from pydantic import Field
from torch import Tensor

from quatrain.tasks.cache import read_cached
from quatrain.tasks.digit_scenes import DIGITS, DigitScenesSpec, Scene
from quatrain.tasks.segmentation.cityscapes import CityscapesSpec
from quatrain.tasks.segmentation.corpus import (
    SegmentationClass,
    SegmentationCorpus,
    SegmentationPart,
)
from quatrain.tasks.segmentation.folders import FoldersSpec
from quatrain.tasks.vision import ImageSize

SegmentationData = Annotated[
    DigitScenesSpec | FoldersSpec | CityscapesSpec, Field(discriminator="kind")
]


def read_segmentation(data: SegmentationData, folder: Path | None) -> SegmentationCorpus:
    """Read and check all three parts, cached for unchanged data; digit scenes need no folder.

    Raises:
        DataError: if the data cannot be used.
    """
    if isinstance(data, DigitScenesSpec):
        # Frozen specs are hashable, which the checker does not see.
        return digit_masks(data)  # pyright: ignore[reportArgumentType]
    return read_cached(type(data).read, folder, data)


def _color(digit: int) -> tuple[int, int, int]:
    red, green, blue = colorsys.hsv_to_rgb(digit / len(DIGITS), 0.8, 0.9)
    return round(255 * red), round(255 * green), round(255 * blue)


DIGIT_CLASSES = (
    SegmentationClass("background", (0, 0, 0)),
    *(SegmentationClass(name, _color(digit)) for digit, name in enumerate(DIGITS)),
)


@lru_cache(maxsize=2)
def digit_masks(spec: DigitScenesSpec) -> SegmentationCorpus:
    """The scenes of `spec`; a pixel is 0 on the background and d + 1 on the digit d."""
    return SegmentationCorpus(**spec.make().converted(_part), classes=DIGIT_CLASSES)


def _part(scenes: tuple[Scene, ...]) -> SegmentationPart:
    names = [f"scene {i}" for i in range(len(scenes))]
    sizes = (ImageSize(*scene.image.shape[1:]) for scene in scenes)
    return SegmentationPart(names, partial(_load, scenes), sizes)


def _load(
    scenes: tuple[Scene, ...], index: int
) -> tuple[UInt8[Tensor, "3 h w"], Int64[Tensor, "h w"]]:
    scene = scenes[index]
    classes = torch.cat([torch.zeros(1, dtype=torch.int64), scene.digits + 1])
    return scene.image, classes[scene.instances.long()]
