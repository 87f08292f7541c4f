"""The union of the specs of detection data, and the function that reads any of them."""

from pathlib import Path
from typing import Annotated

from pydantic import Field

from quatrain.tasks.cache import read_cached
from quatrain.tasks.detection.coco import CocoSpec
from quatrain.tasks.detection.corpus import DetectionCorpus
from quatrain.tasks.detection.digits import digit_boxes
from quatrain.tasks.detection.voc import VocSpec
from quatrain.tasks.digit_scenes import DigitScenesSpec

DetectionData = Annotated[DigitScenesSpec | CocoSpec | VocSpec, Field(discriminator="kind")]


def read_detection(data: DetectionData, folder: Path | None) -> DetectionCorpus:
    """Read and check all three parts, once for unchanged data; digit scenes need no folder.

    Raises:
        DataError: if the data cannot be used.
    """
    if isinstance(data, DigitScenesSpec):
        # Frozen specs are hashable, which the checker does not see.
        return digit_boxes(data)  # pyright: ignore[reportArgumentType]
    return read_cached(type(data).read, folder, data)
