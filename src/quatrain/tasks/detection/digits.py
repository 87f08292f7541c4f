"""Digit scenes as detection data: a box tight around the visible pixels of each digit."""

from functools import lru_cache, partial

import numpy as np
from jaxtyping import Bool, Int64, UInt8
from torch import Tensor

from quatrain.tasks.detection.corpus import DetectionCorpus, DetectionPart, Truth
from quatrain.tasks.digit_scenes import DigitScenesSpec, Scene
from quatrain.tasks.digit_scenes.scenes import DIGITS


@lru_cache(maxsize=2)
def digit_boxes(spec: DigitScenesSpec) -> DetectionCorpus:
    """The scenes of `spec` with boxes and labels 1...10; the area of an object is its pixels'."""
    scenes = spec.make()
    train, valid, test = (_part(part) for part in (scenes.train, scenes.valid, scenes.test))
    return DetectionCorpus(
        train, valid, test, DIGITS, scenes.hashes, test_hashes=scenes.test_hashes
    )


def tight_boxes(masks: Bool[Tensor, "n h w"]) -> Int64[np.ndarray, "n 4"]:
    """The least x y w h that holds every pixel of each mask, none of which may be empty."""
    pixels = masks.numpy()
    sides: list[np.ndarray] = []
    for axis in (1, 2):
        filled = np.any(pixels, axis=axis)
        first = filled.argmax(axis=1)
        sides += [first, filled.shape[1] - filled[:, ::-1].argmax(axis=1) - first]
    return np.stack([sides[0], sides[2], sides[1], sides[3]], axis=1).astype(np.int64)


def _part(scenes: tuple[Scene, ...]) -> DetectionPart:
    truths = [_truth(scene, number) for number, scene in enumerate(scenes)]
    return DetectionPart(truths, partial(_load, scenes))


def _load(scenes: tuple[Scene, ...], index: int) -> UInt8[Tensor, "3 h w"]:
    return scenes[index].image


def _truth(scene: Scene, number: int) -> Truth:
    masks = scene.masks
    return Truth(
        image_id=number,
        name=f"scene {number}",
        height=masks.shape[1],
        width=masks.shape[2],
        xywh=tight_boxes(masks).astype(np.float64),
        labels=scene.digits.numpy() + 1,
        crowd=np.zeros(len(masks), dtype=np.bool_),
        areas=masks.flatten(1).sum(1).double().numpy(),
    )
