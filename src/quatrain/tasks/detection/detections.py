"""The detections of one image, checked and converted to the types of the metric.

    check_detections(Detections(boxes, scores, labels), "image 7 (a.jpg)", categories=80)
        ->  float64 boxes and scores, int64 labels

Detectors return various types: labels as uint8, int32 or float32, boxes as integers or float16.
Conversion is exact; a value that would change is refused.
"""

import operator
from typing import NamedTuple

import numpy as np
from jaxtyping import Float64, Int64

from quatrain.specs import InputError
from quatrain.specs.errors import shorten


class Detections(NamedTuple):
    """Boxes x0 y0 x1 y1 in pixels, scores and labels 1...C of one image."""

    boxes: Float64[np.ndarray, "n 4"]
    scores: Float64[np.ndarray, " n"]
    labels: Int64[np.ndarray, " n"]


def image_index(image_id: object) -> int:
    """An image id as an int; floats are refused, since they round integers beyond 2^53."""
    try:
        return operator.index(image_id)  # pyright: ignore[reportArgumentType]
    except TypeError:
        message = f"image_id={shorten(image_id)} is no integer; pass the id of the ground truth"
        raise InputError(message, "image_id") from None


def check_detections(detections: Detections, name: str, categories: int) -> Detections:
    """The detections of the image called `name` as float64 and int64."""
    boxes = _to_float64(detections.boxes, "boxes", name)
    scores = _to_float64(detections.scores, "scores", name)
    labels = np.asarray(detections.labels)
    count = len(scores) if scores.ndim else 0
    shapes = (boxes.shape, scores.shape, labels.shape)
    if shapes != ((count, 4), (count,), (count,)):
        problem = f"the shapes of boxes, scores and labels of {name} are {shapes}"
        raise InputError(f"{problem}; pass (n, 4), (n,) and (n,)", "boxes")
    for field, values in (("boxes", boxes), ("scores", scores)):
        if not np.isfinite(values).all():
            message = f"the {field} of {name} are not finite; check the model's output"
            raise InputError(message, field)
    if (boxes[:, 2:] < boxes[:, :2]).any():
        message = f"a box of {name} ends before it begins; order its values as x0 y0 x1 y1"
        raise InputError(message, "boxes")
    return Detections(boxes, scores, check_labels(labels, name, categories))


def check_labels(labels: np.ndarray, name: str, categories: int) -> Int64[np.ndarray, " n"]:
    """Labels 1...C as int64, from integers or integer-valued floats."""
    numbers = _to_float64(labels, "labels", name)
    if not np.array_equal(numbers, np.rint(numbers)):
        odd = numbers[numbers != np.rint(numbers)][0]
        message = f"the label {odd:g} of {name} is no whole number; pass the number of a category"
        raise InputError(message, "labels")
    if numbers.size and not 1 <= numbers.min() <= numbers.max() <= categories:
        extremes = f"{numbers.min():g} to {numbers.max():g}"
        remedy = f"pass the numbers of categories, 1 to {categories}"
        raise InputError(f"the labels of {name} are {extremes}; {remedy}", "labels")
    return numbers.astype(np.int64)


def _to_float64(values: np.ndarray, field: str, name: str) -> Float64[np.ndarray, "..."]:
    values = np.asarray(values)
    if values.dtype.kind not in "iuf":
        message = f"the {field} of {name} are {values.dtype}; pass integers or floats"
        raise InputError(message, field)
    return values.astype(np.float64)
