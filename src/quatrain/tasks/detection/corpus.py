"""Images with boxes: the types that all kinds of detection data are read into.

    corpus.train[7]                a DetectionSample: pixels and targets, read on demand
    corpus.test.ground_truths[7]   the GroundTruth of one image, from which scores are computed

Shapes: an image is h high and w wide and has n boxes.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float32, Float64, Int64, UInt8
from torch import Tensor

from quatrain.tasks.vision.images import ImageSize, check_unchanged
from quatrain.tasks.vision.parts import DatasetParts


@dataclass(frozen=True, eq=False)
class DetectionSample:
    """One image and its boxes.

    `boxes` are x0 y0 x1 y1 in pixels; a pixel is a square, so the whole image is 0 0 w h. `labels`
    are 1...C, 0 being the background. A `crowd` box is no target: it has many objects, or one
    that is not evaluated, and detections in it are no errors.
    """

    image: UInt8[Tensor, "3 h w"]
    boxes: Float32[Tensor, "n 4"]
    labels: Int64[Tensor, " n"]
    crowd: Bool[Tensor, " n"]
    image_id: int


@dataclass(frozen=True, eq=False)
class GroundTruth:
    """The annotations of one image, unchanged.

    `xywh` are x, y, width and height in pixels, in the precision of the file, because scores are
    computed from them. `areas` are in pixels; they decide whether an object is small, medium or
    large.
    """

    image_id: int
    name: str
    height: int
    width: int
    xywh: Float64[np.ndarray, "n 4"]
    labels: Int64[np.ndarray, " n"]
    crowd: Bool[np.ndarray, " n"]
    areas: Float64[np.ndarray, " n"]

    def sample(self, image: UInt8[Tensor, "3 h w"]) -> DetectionSample:
        """The sample of these annotations and the pixels."""
        return DetectionSample(
            image=image,
            boxes=torch.from_numpy(corners(self.xywh).astype(np.float32)),
            labels=torch.from_numpy(self.labels),
            crowd=torch.from_numpy(self.crowd),
            image_id=self.image_id,
        )


class DetectionPart:
    """The training, validation or test images, whose pixels are read on demand.

    Args:
        ground_truths: The annotations, one for each image.
        load: From an image's index to its pixels, uint8 (3, h, w).
    """

    def __init__(
        self, ground_truths: Sequence[GroundTruth], load: Callable[[int], UInt8[Tensor, "3 h w"]]
    ) -> None:
        self.ground_truths: tuple[GroundTruth, ...] = tuple(ground_truths)
        self._load = load

    truths = property(lambda self: self.ground_truths)  # the name of 0.1

    def __len__(self) -> int:
        return len(self.ground_truths)

    def __getitem__(self, index: int) -> DetectionSample:
        """The sample of that index.

        Raises:
            IndexError: if there is none.
            DataError: if its image is broken, or changed its size since the data were opened.
        """
        truth, image = self.ground_truths[index], self._load(index)
        size = ImageSize(truth.height, truth.width)
        check_unchanged(ImageSize(*image.shape[1:]), size, truth.name)
        return truth.sample(image)


@dataclass(frozen=True, eq=False, kw_only=True)
class DetectionCorpus(DatasetParts[DetectionPart]):
    """Detection data, with the names of the categories 1...C."""

    categories: tuple[str, ...]
    category_ids: tuple[int, ...] | None = None
    """The ids of the categories in the annotation files, if they have any."""


def corners(xywh: Float64[np.ndarray, "n 4"]) -> Float64[np.ndarray, "n 4"]:
    """From x, y, width, height to x0, y0, x1, y1."""
    return np.concatenate([xywh[:, :2], xywh[:, :2] + xywh[:, 2:]], axis=1)
