"""An image, the class of each of its pixels, and beside it the class that was predicted.

    picture = segmentation_picture(corpus.test[7], prediction, corpus.classes)
    write_picture(folder / "segmentation-7.png", picture)

Shapes: an image is h high and w wide.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Int64, Shaped
from PIL import Image
from scipy import ndimage
from torch import Tensor

from quatrain.specs import InputError
from quatrain.tasks.segmentation.corpus import IGNORE, SegmentationClass, SegmentationSample
from quatrain.tasks.segmentation.metric import class_indices
from quatrain.tasks.vision.panels import Panel, Swatch, arrange, fit, fitted, to_image

DARK = (40, 40, 40)
"""Pixels that are not scored."""


def segmentation_picture(
    sample: SegmentationSample,
    prediction: Shaped[Tensor, "..."],
    classes: Sequence[SegmentationClass],
) -> Image.Image:
    """Image, truth and prediction side by side, and the classes that occur, in their colours.

    Pixels that are not scored are dark in both.

    Args:
        sample: The image as it was read, and its label.
        prediction: The class of each pixel, 0...C-1, (h, w) of any integer type.
        classes: The classes 0...C-1.

    Raises:
        InputError: if the prediction has another shape than the label or no integer type, or a
            value is no class.
    """
    truth = class_indices(sample.label, f"the label of image {sample.image_id}")
    predicted = class_indices(prediction, f"the prediction of image {sample.image_id}")
    if truth.shape != predicted.shape:
        raise InputError(
            f"the shape of the prediction of image {sample.image_id}",
            tuple(predicted.shape),
            f"{tuple(truth.shape)}, as the label",
            "resize the scores of the classes to the label before taking the best",
        )
    judged = truth != IGNORE
    predicted = torch.where(judged, predicted, IGNORE)
    for name, values in (("label", truth), ("prediction", predicted)):
        _check(values[judged], f"the {name} of image {sample.image_id}", len(classes))
    right = 100 * float((truth == predicted)[judged].double().mean()) if judged.any() else None
    scored = "no pixel scored" if right is None else f"{right:.1f} % of pixels right"
    return arrange(
        [
            Panel("image", fit(to_image(sample.image))[0]),
            Panel("truth", _colored(truth, classes)),
            Panel(f"prediction: {scored}", _colored(predicted, classes)),
        ],
        legend=_legend(torch.stack([truth, predicted]), classes),
    )


def object_pixel(label: Int64[Tensor, "h w"]) -> tuple[int, int]:
    """The row and column of a pixel deep inside the largest object.

    An object is a connected region of a class other than the commonest, which is what stands
    behind them. Where there is none, it is the pixel at the centre of the image.
    """
    values = label.cpu().numpy()
    present = np.unique(values[values != IGNORE])
    if len(present) < 2:
        return values.shape[0] // 2, values.shape[1] // 2
    commonest = max(present, key=lambda value: (values == value).sum())
    regions = [_largest_region(values == value) for value in present if value != commonest]
    largest = max(regions, key=np.count_nonzero)
    # The frame counts as outside, so that a region cut by the edge is not entered there.
    depth = np.asarray(ndimage.distance_transform_edt(np.pad(largest, 1)))[1:-1, 1:-1]
    row, column = np.unravel_index(depth.argmax(), depth.shape)
    return int(row), int(column)


def _largest_region(mask: Bool[np.ndarray, "h w"]) -> Bool[np.ndarray, "h w"]:
    """The largest connected part of a mask that is not empty."""
    found: Any = ndimage.label(mask)
    numbers = found[0]
    return numbers == 1 + np.bincount(numbers[mask])[1:].argmax()


def _check(values: Int64[Tensor, " n"], field: str, classes: int) -> None:
    if len(values) and not 0 <= int(values.min()) <= int(values.max()) < classes:
        raise InputError(
            field,
            f"{int(values.min())} to {int(values.max())}",
            f"0 to {classes - 1}",
            "name every class",
        )


def _colored(label: Int64[Tensor, "h w"], classes: Sequence[SegmentationClass]) -> Image.Image:
    table = np.full((IGNORE + 1, 3), DARK, dtype=np.uint8)
    table[: len(classes)] = [each.color for each in classes]
    image = Image.fromarray(table[label.numpy()])
    return image.resize(fitted(image.size), Image.Resampling.NEAREST)


def _legend(labels: Int64[Tensor, "2 h w"], classes: Sequence[SegmentationClass]) -> list[Swatch]:
    present = labels.unique().tolist()
    named = [Swatch(each.color, each.name) for i, each in enumerate(classes) if i in present]
    return [*named, Swatch(DARK, "not scored")] if IGNORE in present else named
