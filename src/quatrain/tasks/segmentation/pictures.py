"""Pictures of an image, its label and its prediction, side by side.

    picture = segmentation_picture(corpus.test[7], prediction, corpus.classes)
    write_picture(folder / "segmentation-7.png", picture)

Shapes: an image is h high and w wide.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Bool, Int64, Shaped, UInt8
from PIL import Image
from scipy import ndimage
from torch import Tensor

from quatrain.tasks.segmentation.corpus import IGNORE, SegmentationClass, SegmentationSample
from quatrain.tasks.segmentation.metric import class_indices
from quatrain.tasks.vision.panels import Panel, draw_panels, to_array

IGNORED_COLOR = (40, 40, 40)


def segmentation_picture(
    sample: SegmentationSample,
    prediction: Shaped[Tensor, "..."],
    classes: Sequence[SegmentationClass],
) -> Image.Image:
    """Draw image, ground truth and prediction side by side, with a legend of their classes.

    Ignored pixels are dark in both.

    Args:
        sample: The image in its original size, and its label.
        prediction: The class of each pixel, 0...C-1, (h, w) of any integer type.
        classes: The classes 0...C-1.

    Raises:
        InputError: if the prediction has another shape than the label or no integer type, or a
            value is no class.
        DataError: if a value of the label is no class.
    """
    predicted, truth = class_indices(sample.image_id, prediction, sample.label, len(classes))
    scored = truth != IGNORE
    present = {*truth.unique().tolist(), *predicted.unique().tolist()}
    legend = {entry.name: entry.color for index, entry in enumerate(classes) if index in present}
    if IGNORE in present:
        legend["ignored"] = IGNORED_COLOR
    correct = (
        f"{100 * float((truth == predicted)[scored].double().mean()):.1f} % of pixels correct"
        if scored.any()
        else "all pixels ignored"
    )
    return draw_panels(
        [
            Panel("image", to_array(sample.image)),
            Panel("ground truth", _colored(truth, classes), interpolation="nearest"),
            Panel(f"prediction: {correct}", _colored(predicted, classes), interpolation="nearest"),
        ],
        legend=legend,
    )


def object_pixel(label: Int64[Tensor, "h w"]) -> tuple[int, int]:
    """The row and column of the pixel of the largest object that is farthest from its border.

    An object is a connected region of any class except the most frequent one, which is taken for
    the background. Without an object, the pixel at the centre of the image.
    """
    values = label.cpu().numpy()
    present = np.unique(values[values != IGNORE])
    if len(present) < 2:
        return values.shape[0] // 2, values.shape[1] // 2
    background = max(present, key=lambda value: (values == value).sum())
    regions = [_largest_region(values == value) for value in present if value != background]
    largest = max(regions, key=np.count_nonzero)
    # Padding makes the edge of the image a border of the region.
    distance = np.asarray(ndimage.distance_transform_edt(np.pad(largest, 1)))[1:-1, 1:-1]
    row, column = np.unravel_index(distance.argmax(), distance.shape)
    return int(row), int(column)


def _largest_region(mask: Bool[np.ndarray, "h w"]) -> Bool[np.ndarray, "h w"]:
    """The largest connected region of a mask that is not empty."""
    components: Any = ndimage.label(mask)
    numbers = components[0]
    return numbers == 1 + np.bincount(numbers[mask])[1:].argmax()


def _colored(
    label: Int64[Tensor, "h w"], classes: Sequence[SegmentationClass]
) -> UInt8[np.ndarray, "h w 3"]:
    table = np.full((IGNORE + 1, 3), IGNORED_COLOR, dtype=np.uint8)
    table[: len(classes)] = [entry.color for entry in classes]
    return table[label.numpy()]
