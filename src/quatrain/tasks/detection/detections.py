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


class Detections(NamedTuple):
    """Boxes x0 y0 x1 y1 in pixels, scores and labels 1...C of one image."""

    boxes: Float64[np.ndarray, "n 4"]
    scores: Float64[np.ndarray, " n"]
    labels: Int64[np.ndarray, " n"]


def image_index(image_id: object) -> int:
    """An image id as an int; floats are refused, since they round integers beyond 2^53.

    Raises:
        InputError: if it is no integer.
    """
    try:
        return operator.index(image_id)  # pyright: ignore[reportArgumentType]
    except TypeError:
        raise InputError(
            "image_id", image_id, "an integer", "pass the id of the ground truth"
        ) from None


def check_detections(detections: Detections, name: str, categories: int) -> Detections:
    """The detections of the image called `name` as float64 and int64.

    Raises:
        InputError: if shapes differ, a number is not finite or not real, a box ends before it
            begins or a label is not one of 1...C.
    """
    boxes = _real(detections.boxes, f"the boxes of {name}")
    scores = _real(detections.scores, f"the scores of {name}")
    labels = np.asarray(detections.labels)
    count = len(scores) if scores.ndim else 0
    shapes = (boxes.shape, scores.shape, labels.shape)
    if shapes != ((count, 4), (count,), (count,)):
        raise InputError(
            f"the shapes of boxes, scores and labels of {name}",
            ", ".join(map(str, shapes)),
            "(n, 4), (n,), (n,)",
            "pass one row for each detection",
        )
    if not (np.isfinite(boxes).all() and np.isfinite(scores).all()):
        raise InputError(
            f"the detections of {name}", "not finite", "finite numbers", "check the model's output"
        )
    if (boxes[:, 2:] < boxes[:, :2]).any():
        raise InputError(
            f"a box of {name}", "ending before it begins", "x0 y0 x1 y1", "reorder its values"
        )
    return Detections(boxes, scores, check_labels(labels, name, categories))


def check_labels(labels: np.ndarray, name: str, categories: int) -> Int64[np.ndarray, " n"]:
    """Labels as int64, from integers or integer-valued floats.

    Raises:
        InputError: if one is not among 1...C.
    """
    field = f"the labels of {name}"
    numbers = _real(labels, field)
    if not np.array_equal(numbers, np.rint(numbers)):
        odd = numbers[numbers != np.rint(numbers)][0]
        raise InputError(field, float(odd), "whole numbers", "pass category indices")
    if numbers.size and not 1 <= numbers.min() <= numbers.max() <= categories:
        raise InputError(
            field,
            f"{numbers.min():g} to {numbers.max():g}",
            f"1 to {categories}",
            "exclude the background",
        )
    return numbers.astype(np.int64)


def _real(values: np.ndarray, field: str) -> Float64[np.ndarray, "..."]:
    """Integers and floats as float64.

    Raises:
        InputError: if they are of another type.
    """
    values = np.asarray(values)
    if values.dtype.kind not in "iuf":
        raise InputError(
            field, str(values.dtype), "integers or floating-point numbers", "convert them"
        )
    return values.astype(np.float64)
