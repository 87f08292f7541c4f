"""The kinds of detection data, as one type, and what reads any of them."""

from pathlib import Path
from typing import Annotated

from pydantic import Field

from quatrain.tasks.detection.coco import CocoSpec
from quatrain.tasks.detection.corpus import DetectionCorpus
from quatrain.tasks.detection.digits import digit_boxes
from quatrain.tasks.detection.voc import VocSpec
from quatrain.tasks.scenes import DigitScenesSpec

DetectionData = Annotated[DigitScenesSpec | CocoSpec | VocSpec, Field(discriminator="kind")]


def read_detection(data: DetectionData, folder: Path | None) -> DetectionCorpus:
    """Read and check all three parts; `folder` does not matter to digit scenes.

    Raises:
        DataError: if the data cannot be used.
    """
    if isinstance(data, DigitScenesSpec):
        return digit_boxes(data)
    return data.read(folder)
