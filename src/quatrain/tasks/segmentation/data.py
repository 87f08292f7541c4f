"""The union of the specs of segmentation data, and the function that reads any of them."""

from pathlib import Path
from typing import Annotated

from pydantic import Field

from quatrain.tasks.cache import read_cached
from quatrain.tasks.digit_scenes import DigitScenesSpec
from quatrain.tasks.segmentation.cityscapes import CityscapesSpec
from quatrain.tasks.segmentation.corpus import SegmentationCorpus
from quatrain.tasks.segmentation.digits import digit_masks
from quatrain.tasks.segmentation.folders import FoldersSpec

SegmentationData = Annotated[
    DigitScenesSpec | FoldersSpec | CityscapesSpec, Field(discriminator="kind")
]


def read_segmentation(data: SegmentationData, folder: Path | None) -> SegmentationCorpus:
    """Read and check all three parts, once for unchanged data; digit scenes need no folder.

    Raises:
        DataError: if the data cannot be used.
    """
    if isinstance(data, DigitScenesSpec):
        # Frozen specs are hashable, which the checker does not see.
        return digit_masks(data)  # pyright: ignore[reportArgumentType]
    return read_cached(type(data).read, folder, data)
