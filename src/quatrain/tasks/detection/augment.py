"""What the paper does to an image before a detector sees it: resize, and flip one in two.

Randomness comes from a generator that is passed in, and torch's own is not touched: a sample is a
function of the generator's seed, for example one made of the run's seed, epoch and image.

Source: Zhu et al. 2019, https://arxiv.org/abs/1904.05873, section 4.1, by way of the settings that
it shares with mmdetection: shorter side 800, longer side at most 1333, flips.
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
    """How training images are resized and flipped, and held-out images resized."""

    shorter: int = Field(default=800, ge=1)
    """Pixels of the shorter side after resizing."""
    longer: int = Field(default=1333, ge=1)
    """Pixels that the longer side may have; a long image is made smaller for it."""
    flip: float = Field(default=0.5, ge=0, le=1)
    """How often a training image is mirrored, left for right."""

    @model_validator(mode="after")
    def _sides_in_order(self) -> "DetectionAugmentation":
        if self.longer < self.shorter:
            raise SpecError(
                "DetectionAugmentation.longer",
                self.longer,
                f"at least the {self.shorter} pixels of the shorter side",
                "exchange the two",
            )
        return self

    def train(self, sample: DetectionSample, generator: torch.Generator) -> DetectionSample:
        """A training sample, resized, and flipped or not."""
        flipped = bool(torch.rand((), generator=generator) < self.flip)
        resized = self.evaluate(sample)
        if not flipped:
            return resized
        mirrored = functional.horizontal_flip(_boxed(resized))
        image = functional.horizontal_flip(tv_tensors.Image(resized.image))
        return replace(resized, image=plain(image), boxes=plain(mirrored))

    def evaluate(self, sample: DetectionSample) -> DetectionSample:
        """The sample, resized with its boxes; see `rescale` for the way back."""
        height, width = sample.image.shape[1:]
        size = self.resized(height, width)
        image = functional.resize(tv_tensors.Image(sample.image), list(size), antialias=True)
        boxes = rescale(sample.boxes, (height, width), size)
        return replace(sample, image=plain(image), boxes=boxes)

    def resized(self, height: int, width: int) -> tuple[int, int]:
        """Height and width after resizing, to the nearest pixel."""
        factor = min(
            self.shorter / min(height, width),
            self.longer / max(height, width),
        )
        return max(round(height * factor), 1), max(round(width * factor), 1)


def rescale(
    boxes: Float32[Tensor, "n 4"], before: tuple[int, int], after: tuple[int, int]
) -> Float32[Tensor, "n 4"]:
    """Boxes x0 y0 x1 y1 from an image of one (height, width) to the same image of another."""
    down, across = after[0] / before[0], after[1] / before[1]
    return boxes * boxes.new_tensor([across, down, across, down])


def plain(tensor: Tensor) -> Tensor:
    """The tensor without what torchvision knows about it."""
    return tensor.as_subclass(Tensor)


def _boxed(sample: DetectionSample) -> tv_tensors.BoundingBoxes:
    return tv_tensors.BoundingBoxes(
        sample.boxes,  # pyright: ignore[reportCallIssue]
        format=tv_tensors.BoundingBoxFormat.XYXY,
        canvas_size=(sample.image.shape[1], sample.image.shape[2]),
    )
