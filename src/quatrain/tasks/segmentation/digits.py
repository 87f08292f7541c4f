"""Digit scenes as segmentation data: the background, and a class for each of the ten digits."""

import colorsys
from functools import lru_cache, partial

import torch
from jaxtyping import Int64, UInt8
from torch import Tensor

from quatrain.tasks.digit_scenes import DIGITS, DigitScenesSpec, Scene
from quatrain.tasks.segmentation.corpus import (
    SegmentationClass,
    SegmentationCorpus,
    SegmentationPart,
)


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
    return SegmentationPart([f"scene {i}" for i in range(len(scenes))], partial(_load, scenes))


def _load(
    scenes: tuple[Scene, ...], index: int
) -> tuple[UInt8[Tensor, "3 h w"], Int64[Tensor, "h w"]]:
    scene = scenes[index]
    classes = torch.cat([torch.zeros(1, dtype=torch.int64), scene.digits + 1])
    return scene.image, classes[scene.instances.long()]
