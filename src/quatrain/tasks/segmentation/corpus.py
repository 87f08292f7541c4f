"""Images with a class for each pixel: the types that all segmentation data are read into.

    corpus.train[7]       a SegmentationSample: pixels and their classes, read on demand
    corpus.classes[3]     SegmentationClass(name="road", color=(128, 64, 128))

Shapes: an image is h high and w wide.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from jaxtyping import Int64, UInt8
from torch import Tensor

from quatrain.tasks.vision.images import ImageSize, check_unchanged
from quatrain.tasks.vision.parts import DatasetParts

IGNORE = 255
"""The label of pixels that are excluded from the loss and the scores."""


@dataclass(frozen=True, eq=False)
class SegmentationSample:
    """One image and the class of each pixel, 0...C-1, or IGNORE."""

    image: UInt8[Tensor, "3 h w"]
    label: Int64[Tensor, "h w"]
    image_id: int


@dataclass(frozen=True)
class SegmentationClass:
    """A class's name, and its colour in pictures: red, green, blue."""

    name: str
    color: tuple[int, int, int]


class SegmentationPart:
    """The training, validation or test images, whose pixels are read on demand.

    An image's id is its index.

    Args:
        names: The name of each image in errors.
        load: From an image's index to its pixels and labels.
        sizes: The size of each image.
    """

    def __init__(
        self,
        names: list[str],
        load: Callable[[int], tuple[UInt8[Tensor, "3 h w"], Int64[Tensor, "h w"]]],
        sizes: Iterable[ImageSize],
    ) -> None:
        self.names: tuple[str, ...] = tuple(names)
        self.sizes: tuple[ImageSize, ...] = tuple(sizes)
        self._load = load

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, index: int) -> SegmentationSample:
        """The sample of that index, from 0.

        Raises:
            IndexError: if there is none.
            DataError: if its files are broken, or changed since the data were opened.
        """
        if not 0 <= index < len(self.names):
            raise IndexError(index)
        image, label = self._load(index)
        check_unchanged(ImageSize(*image.shape[1:]), ImageSize(*label.shape), self.names[index])
        return SegmentationSample(image, label, index)


@dataclass(frozen=True, eq=False, kw_only=True)
class SegmentationCorpus(DatasetParts[SegmentationPart]):
    """Segmentation data, with the classes 0...C-1."""

    classes: tuple[SegmentationClass, ...]
