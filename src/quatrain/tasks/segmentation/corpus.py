"""Images with a class for each pixel: what every kind of segmentation data reads into.

    corpus.train[7]       a SegmentationSample: pixels and their classes, read now
    corpus.classes[3]     SegmentationClass(name="road", color=(128, 64, 128))

Shapes: an image is h high and w wide.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

from jaxtyping import Int64, UInt8
from torch import Tensor

from quatrain.specs import DataError

IGNORE = 255
"""The label of pixels that are of no class: no target, and not scored."""


@dataclass(frozen=True, eq=False)
class SegmentationSample:
    """One image and the class of each pixel, 0...C-1, or IGNORE."""

    image: UInt8[Tensor, "3 h w"]
    label: Int64[Tensor, "h w"]
    image_id: int


@dataclass(frozen=True)
class SegmentationClass:
    """What a class is called, and the colour, red green blue, in which it is shown."""

    name: str
    color: tuple[int, int, int]


class SegmentationPart:
    """The training, validation or test images: pixels are read when they are asked for.

    An image's id is its index.

    Args:
        names: What each image is called in errors.
        load: From an image's index to its pixels and labels.
    """

    def __init__(
        self,
        names: list[str],
        load: Callable[[int], tuple[UInt8[Tensor, "3 h w"], Int64[Tensor, "h w"]]],
    ) -> None:
        self.names = tuple(names)
        self._load = load

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, index: int) -> SegmentationSample:
        """The sample of that index, from 0.

        Raises:
            IndexError: if there is none.
            DataError: if its files are broken, or are not any more what they were.
        """
        if not 0 <= index < len(self.names):
            raise IndexError(index)
        image, label = self._load(index)
        if image.shape[1:] != label.shape:
            raise DataError(
                f"the size of {self.names[index]}",
                f"{image.shape[2]} x {image.shape[1]}",
                f"{label.shape[1]} x {label.shape[0]}, as its label",
                "leave data alone while they are used",
            )
        return SegmentationSample(image, label, index)


@dataclass(frozen=True, eq=False)
class SegmentationCorpus:
    """Three parts, the classes 0...C-1, and where all of it came from.

    `hashes` maps what was read to its SHA-256; `skipped` counts what was left out or not used, by
    part and kind.
    """

    train: SegmentationPart
    valid: SegmentationPart
    test: SegmentationPart
    classes: tuple[SegmentationClass, ...]
    hashes: dict[str, str]
    skipped: dict[str, int] = field(default_factory=dict)
    test_hashes: dict[str, str] | None = None
    """SHA-256 of what the test part was read from."""
