"""Digit scenes as segmentation data: the background, and a class for each of the ten digits."""

import colorsys
from functools import lru_cache, partial

import torch
from jaxtyping import Int64, UInt8
from torch import Tensor

from quatrain.tasks.digit_scenes import DigitScenesSpec, Scene
from quatrain.tasks.digit_scenes.scenes import DIGITS
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
    scenes = spec.make()
    train, valid, test = (_part(part) for part in (scenes.train, scenes.valid, scenes.test))
    return SegmentationCorpus(
        train, valid, test, DIGIT_CLASSES, scenes.hashes, test_hashes=scenes.test_hashes
    )


def digit_label(scene: Scene) -> Int64[Tensor, "h w"]:
    """The class of each pixel."""
    background = torch.zeros(1, dtype=torch.int64)
    return torch.cat([background, scene.digits + 1])[scene.owners.long()]


def _part(scenes: tuple[Scene, ...]) -> SegmentationPart:
    names = [f"scene {number}" for number in range(len(scenes))]
    return SegmentationPart(names, partial(_load, scenes))


def _load(
    scenes: tuple[Scene, ...], index: int
) -> tuple[UInt8[Tensor, "3 h w"], Int64[Tensor, "h w"]]:
    return scenes[index].image, digit_label(scenes[index])
