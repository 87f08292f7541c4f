"""Images with boxes, however they came to be: what every kind of detection data reads into.

    corpus.train[7]         a DetectionSample: pixels and targets, read now
    corpus.test.truths[7]   the Truth about the same image: what a score is computed from

Shapes: an image is h high and w wide and has n boxes.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from jaxtyping import Bool, Float32, Float64, Int64, UInt8
from torch import Tensor

from quatrain.specs import DataError


@dataclass(frozen=True, eq=False)
class DetectionSample:
    """One image and what is to be found in it.

    `boxes` are x0 y0 x1 y1 in pixels; a pixel is a square, so the whole image is 0 0 w h. `labels`
    are 1...C, 0 being the background. Where `crowd` is true the box is no target: it holds many
    objects, or one that is not to be judged, and what is found there is no error.
    """

    image: UInt8[Tensor, "3 h w"]
    boxes: Float32[Tensor, "n 4"]
    labels: Int64[Tensor, " n"]
    crowd: Bool[Tensor, " n"]
    image_id: int


@dataclass(frozen=True, eq=False)
class Truth:
    """The annotations of one image as they were written.

    `xywh` are x, y, width and height in pixels, in the file's own precision: scores are computed
    from them. `areas` are in pixels and decide whether an object is small, medium or large.
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
        """The annotations beside the pixels."""
        return DetectionSample(
            image=image,
            boxes=torch.from_numpy(corners(self.xywh).astype(np.float32)),
            labels=torch.from_numpy(self.labels),
            crowd=torch.from_numpy(self.crowd),
            image_id=self.image_id,
        )


class DetectionPart:
    """The training, validation or test images: pixels are read when they are asked for.

    Args:
        truths: The annotations, image by image.
        load: From an image's index to its pixels, uint8 (3, h, w).
    """

    def __init__(
        self, truths: Sequence[Truth], load: Callable[[int], UInt8[Tensor, "3 h w"]]
    ) -> None:
        self.truths = tuple(truths)
        self._load = load

    def __len__(self) -> int:
        return len(self.truths)

    def __getitem__(self, index: int) -> DetectionSample:
        """The sample of that index.

        Raises:
            IndexError: if there is none.
            DataError: if its image is broken, or is not any more what it was.
        """
        truth, image = self.truths[index], self._load(index)
        if image.shape[1:] != (truth.height, truth.width):
            raise DataError(
                f"the size of {truth.name}",
                f"{image.shape[2]} x {image.shape[1]}",
                f"{truth.width} x {truth.height}, as when the data were opened",
                "leave data alone while they are used",
            )
        return truth.sample(image)


@dataclass(frozen=True, eq=False)
class DetectionCorpus:
    """Three parts, the names of the categories 1...C, and where all of it came from.

    `hashes` maps what was read to its SHA-256; `skipped` counts what was left out or changed, by
    part and kind. `category_ids` are those of the annotation files, where they have any.
    """

    train: DetectionPart
    valid: DetectionPart
    test: DetectionPart
    categories: tuple[str, ...]
    hashes: dict[str, str]
    skipped: dict[str, int] = field(default_factory=dict)
    test_hashes: dict[str, str] | None = None
    """SHA-256 of what the test part was read from."""
    category_ids: tuple[int, ...] | None = None


def corners(xywh: Float64[np.ndarray, "n 4"]) -> Float64[np.ndarray, "n 4"]:
    """From x, y, width, height to x0, y0, x1, y1."""
    return np.concatenate([xywh[:, :2], xywh[:, :2] + xywh[:, 2:]], axis=1)
