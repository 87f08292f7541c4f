"""The kinds of detection data: files, or digit scenes with tight boxes around visible pixels."""

from functools import lru_cache
from pathlib import Path
from typing import Annotated

import numpy as np
from pydantic import Field
from torchvision.ops import masks_to_boxes

from quatrain.tasks.cache import read_cached
from quatrain.tasks.detection.coco import CocoSpec
from quatrain.tasks.detection.corpus import DetectionCorpus, DetectionPart, GroundTruth
from quatrain.tasks.detection.voc import VocSpec
from quatrain.tasks.digit_scenes import DIGITS, DigitScenesSpec, Scene

DetectionData = Annotated[DigitScenesSpec | CocoSpec | VocSpec, Field(discriminator="kind")]


def read_detection(data: DetectionData, folder: Path | None) -> DetectionCorpus:
    """Read and check all three parts, cached for unchanged data; digit scenes need no folder.

    Raises:
        DataError: if the data cannot be used.
    """
    if isinstance(data, DigitScenesSpec):
        # Frozen specs are hashable, which the checker does not see.
        return digit_boxes(data)  # pyright: ignore[reportArgumentType]
    return read_cached(type(data).read, folder, data)


@lru_cache(maxsize=2)
def digit_boxes(spec: DigitScenesSpec) -> DetectionCorpus:
    """The scenes of `spec` with boxes and labels 1...10; an object's area is its mask's."""
    return DetectionCorpus(**spec.make().converted(_part), categories=DIGITS)


def _part(scenes: tuple[Scene, ...]) -> DetectionPart:
    truths = [_ground_truth(scene, index) for index, scene in enumerate(scenes)]
    images = [scene.image for scene in scenes]
    return DetectionPart(truths, images.__getitem__)


def _ground_truth(scene: Scene, index: int) -> GroundTruth:
    masks = scene.masks
    # torchvision's boxes end in their last pixel.
    boxes = masks_to_boxes(masks).double().numpy()
    return GroundTruth(
        image_id=index,
        name=f"scene {index}",
        height=masks.shape[1],
        width=masks.shape[2],
        xywh=np.concatenate([boxes[:, :2], boxes[:, 2:] - boxes[:, :2] + 1], axis=1),
        labels=scene.digits.numpy() + 1,
        crowd=np.zeros(len(masks), dtype=np.bool_),
        areas=masks.flatten(1).sum(1).double().numpy(),
    )
