"""The kinds of segmentation data, as one type, and what reads any of them."""

from pathlib import Path
from typing import Annotated

from pydantic import Field

from quatrain.tasks.scenes import DigitScenesSpec
from quatrain.tasks.segmentation.cityscapes import CityscapesSpec
from quatrain.tasks.segmentation.corpus import SegmentationCorpus
from quatrain.tasks.segmentation.digits import digit_masks
from quatrain.tasks.segmentation.folders import FoldersSpec

SegmentationData = Annotated[
    DigitScenesSpec | FoldersSpec | CityscapesSpec, Field(discriminator="kind")
]


def read_segmentation(data: SegmentationData, folder: Path | None) -> SegmentationCorpus:
    """Read and check all three parts; `folder` does not matter to digit scenes.

    Raises:
        DataError: if the data cannot be used.
    """
    if isinstance(data, DigitScenesSpec):
        return digit_masks(data)
    return data.read(folder)
