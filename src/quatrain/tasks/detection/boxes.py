"""Checks of annotated boxes: invalid ones are left out of training and refused in held-out parts.

Scores are computed from unchanged annotations, so held-out parts also keep boxes that cross the
edge of their image, which are clipped for training.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float64

from quatrain.specs import DataError
from quatrain.tasks.detection.corpus import corners
from quatrain.tasks.vision import DataWarnings

_ROUNDING = 0.5
"""Pixels by which a box may cross the edge of its image unnoticed."""
_THINNEST = 0.01
"""Pixels of its image that a box must cover, so that it has an area after resizing."""
_EXACT = 1e-6
"""Rounding error of fractions written as decimals."""


class Box(NamedTuple):
    """One annotated box, called `name` in errors."""

    image_id: int
    xywh: tuple[float, float, float, float]
    label: int
    crowd: bool
    area: float
    name: str


def check_boxes(
    boxes: Sequence[Box],
    sizes: Float64[np.ndarray, "n 2"],
    *,
    training: bool,
    problems: DataWarnings,
    first_pixel: int = 0,
) -> tuple[Bool[np.ndarray, " n"], Float64[np.ndarray, "n 4"]]:
    """Check each box against the (height, width) of its image.

    `first_pixel` is the coordinate that the file gives the first pixel.

    Returns:
        Whether each box is valid, and all boxes as x y w h, clipped for training.
    """
    xywh = np.array([box.xywh for box in boxes], dtype=np.float64).reshape(len(boxes), 4)
    limits = sizes[:, [1, 0, 1, 0]]
    ends = corners(xywh)
    # A box needs an area in float32, the type of a model's targets.
    with np.errstate(over="ignore"):  # overflow to infinity lies outside of the image
        left, right = ends[:, :2].astype(np.float32), ends[:, 2:].astype(np.float32)
    flat = np.any(right <= left, axis=1)
    inside = np.clip(ends, 0, limits)
    outside = ~flat & np.any(inside[:, 2:] <= inside[:, :2], axis=1)
    thin = ~flat & ~outside & np.any(inside[:, 2:] - inside[:, :2] < _THINNEST, axis=1)
    crossing = ~flat & ~outside & np.any(np.abs(inside - ends) > _ROUNDING, axis=1)
    _note_units(problems, boxes, xywh, limits, first_pixel=first_pixel, valid=~(flat | outside))
    if not training:
        bad = flat | outside | thin
        if bad.any():
            first = int(bad.argmax())
            name, (height, width) = boxes[first].name, sizes[first]
            problem = f"{name}, x y w h {list(boxes[first].xywh)}, has no area in its image of "
            remedy = f"correct or remove it, and all {int(bad.sum())} such boxes of this part"
            raise DataError(f"{problem}{width:g} x {height:g}; {remedy}", name)
        _count(problems, "boxes beyond the edge of the image, kept", boxes, crossing)
        return np.ones(len(boxes), dtype=np.bool_), xywh
    _count(problems, "boxes without area, left out", boxes, flat)
    _count(problems, "boxes outside the image, left out", boxes, outside)
    _count(problems, "boxes thinner than 0.01 pixels, left out", boxes, thin)
    _count(problems, "boxes beyond the edge of the image, clipped", boxes, crossing & ~thin)
    clipped = np.concatenate([inside[:, :2], inside[:, 2:] - inside[:, :2]], axis=1)
    return ~(flat | outside | thin), clipped


def _note_units(
    problems: DataWarnings,
    boxes: Sequence[Box],
    xywh: Float64[np.ndarray, "n 4"],
    limits: Float64[np.ndarray, "n 4"],
    *,
    first_pixel: int,
    valid: Bool[np.ndarray, " n"],
) -> None:
    """Count boxes that do not look like x y w h in pixels, if most of a part are such."""
    starts, sides = xywh[:, :2], xywh[:, 2:]
    large = np.all(limits > 1, axis=1)
    fraction = large & np.all(starts + first_pixel >= -_EXACT, axis=1)
    fraction &= np.all(starts + sides <= 1 + _EXACT, axis=1)
    thin = valid & ~fraction & np.any(sides < 1, axis=1)
    leaving = np.any(starts + sides > limits[:, 2:] + _ROUNDING, axis=1)
    fitting = np.all((starts >= 0) & (starts < sides) & (sides <= limits[:, 2:]), axis=1)
    for kind, cases in (
        ("boxes within [0, 1], probably fractions of the image instead of pixels", fraction),
        ("boxes thinner than a pixel, more than half of all", thin),
        ("boxes outside the image as x y w h and inside as x0 y0 x1 y1", leaving & fitting),
    ):
        if 2 * cases.sum() > len(boxes):
            _count(problems, kind, boxes, cases)


def _count(
    problems: DataWarnings, kind: str, boxes: Sequence[Box], cases: Bool[np.ndarray, " n"]
) -> None:
    if cases.any():
        problems.add(kind, boxes[int(cases.argmax())].name, int(cases.sum()))
