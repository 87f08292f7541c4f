"""The paper's augmentation for detection: resizing and horizontal flips.

Random numbers come from the generator that is passed in, never from torch's global state, so a
sample depends on the generator's seed alone.

Source: Zhu et al. 2019, https://arxiv.org/abs/1904.05873, section 4.1, with mmdetection's settings:
shorter side 800, longer side at most 1333, flips.
"""

from dataclasses import replace

import torch
from jaxtyping import Float32
from pydantic import Field, model_validator
from torch import Tensor
from torchvision import tv_tensors
from torchvision.transforms.v2 import functional

from quatrain.specs import Spec, SpecError
from quatrain.tasks.detection.corpus import DetectionSample


class DetectionAugmentation(Spec):
    """Resizing of all images, and flips of training images."""

    shorter: int = Field(default=800, ge=1)
    """Pixels of the shorter side after resizing."""
    longer: int = Field(default=1333, ge=1)
    """The largest longer side in pixels; it takes precedence over `shorter`."""
    flip: float = Field(default=0.5, ge=0, le=1)
    """Probability of a horizontal flip of a training image."""

    @model_validator(mode="after")
    def _sides_in_order(self) -> "DetectionAugmentation":
        if self.longer < self.shorter:
            message = f"longer={self.longer} is less than shorter={self.shorter}; exchange the two"
            raise SpecError(message, "DetectionAugmentation.longer")
        return self

    def train(self, sample: DetectionSample, generator: torch.Generator) -> DetectionSample:
        """A training sample, resized and randomly flipped."""
        flip = bool(torch.rand((), generator=generator) < self.flip)
        resized = self.evaluate(sample)
        if not flip:
            return resized
        boxes = tv_tensors.BoundingBoxes(
            resized.boxes,  # pyright: ignore[reportCallIssue]
            format=tv_tensors.BoundingBoxFormat.XYXY,
            canvas_size=(resized.image.shape[1], resized.image.shape[2]),
        )
        boxes = functional.horizontal_flip(boxes)
        image = functional.horizontal_flip(tv_tensors.Image(resized.image))
        return replace(resized, image=_plain(image), boxes=_plain(boxes))

    def evaluate(self, sample: DetectionSample) -> DetectionSample:
        """The sample, resized with its boxes; `rescale` is the inverse for boxes."""
        height, width = sample.image.shape[1:]
        size = self.resized(height, width)
        image = functional.resize(tv_tensors.Image(sample.image), list(size), antialias=True)
        boxes = rescale(sample.boxes, (height, width), size)
        return replace(sample, image=_plain(image), boxes=boxes)

    def resized(self, height: int, width: int) -> tuple[int, int]:
        """Height and width after resizing, rounded."""
        factor = min(
            self.shorter / min(height, width),
            self.longer / max(height, width),
        )
        return max(round(height * factor), 1), max(round(width * factor), 1)


def rescale(
    boxes: Float32[Tensor, "n 4"], before: tuple[int, int], after: tuple[int, int]
) -> Float32[Tensor, "n 4"]:
    """Boxes x0 y0 x1 y1 of an image that is resized from one (height, width) to another."""
    down, across = after[0] / before[0], after[1] / before[1]
    return boxes * boxes.new_tensor([across, down, across, down])


def _plain(tensor: Tensor) -> Tensor:
    """The tensor without torchvision's subclass."""
    return tensor.as_subclass(Tensor)
