"""Which boxes of a file are boxes, and what becomes of the others.

A training part may do without a box; a score may not, so held-out parts refuse what nobody could
find, and keep a box that crosses the edge as it was written.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float64

from quatrain.specs import DataError
from quatrain.tasks.detection.corpus import corners
from quatrain.tasks.vision import Tally

_ROUNDING = 0.5
"""Pixels by which a box may cross the edge of its image unnoticed."""
_THINNEST = 0.01
"""Pixels that a box must have of its image, so that it still has an area when it is resized."""
_EXACT = 1e-6
"""Rounding of fractions that were written as decimals."""


class Box(NamedTuple):
    """One annotation: `name` says in an error which one it is."""

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
    tally: Tally,
    first_pixel: int = 0,
) -> tuple[Bool[np.ndarray, " n"], Float64[np.ndarray, "n 4"]]:
    """Judge boxes against the (height, width) of the image of each.

    `first_pixel` is the number that the file gives the first pixel: it counts from there.

    Returns:
        Which to keep, and all of them as x y w h, clipped to their images if they are for training.

    Raises:
        DataError: if a held-out box has no area in its image.
    """
    xywh = np.array([box.xywh for box in boxes], dtype=np.float64).reshape(len(boxes), 4)
    limits = sizes[:, [1, 0, 1, 0]]
    ends = corners(xywh)
    # Models are given float32, so that is where a box must have an area.
    with np.errstate(over="ignore"):  # what is beyond float32 lies outside, too
        left, right = ends[:, :2].astype(np.float32), ends[:, 2:].astype(np.float32)
    flat = np.any(right <= left, axis=1)
    inside = np.clip(ends, 0, limits)
    outside = ~flat & np.any(inside[:, 2:] <= inside[:, :2], axis=1)
    thin = ~flat & ~outside & np.any(inside[:, 2:] - inside[:, :2] < _THINNEST, axis=1)
    crossing = ~flat & ~outside & np.any(np.abs(inside - ends) > _ROUNDING, axis=1)
    _note_units(tally, boxes, xywh, limits, first_pixel=first_pixel, sound=~(flat | outside))
    if not training:
        _refuse(boxes, flat | outside | thin, sizes)
        _count(tally, "boxes beyond the edge of their image, kept as written", boxes, crossing)
        return np.ones(len(boxes), dtype=np.bool_), xywh
    _count(tally, "boxes without area, left out", boxes, flat)
    _count(tally, "boxes outside their image, left out", boxes, outside)
    _count(tally, "boxes thinner than 0.01 pixels, left out", boxes, thin)
    _count(tally, "boxes beyond the edge of their image, clipped", boxes, crossing & ~thin)
    clipped = np.concatenate([inside[:, :2], inside[:, 2:] - inside[:, :2]], axis=1)
    return ~(flat | outside | thin), clipped


def _note_units(
    tally: Tally,
    boxes: Sequence[Box],
    xywh: Float64[np.ndarray, "n 4"],
    limits: Float64[np.ndarray, "n 4"],
    *,
    first_pixel: int,
    sound: Bool[np.ndarray, " n"],
) -> None:
    """Count boxes whose numbers are hardly x y w h in pixels, if most of a part are such."""
    starts, sides = xywh[:, :2], xywh[:, 2:]
    large = np.all(limits > 1, axis=1)
    fraction = large & np.all(starts + first_pixel >= -_EXACT, axis=1)
    fraction &= np.all(starts + sides <= 1 + _EXACT, axis=1)
    thin = sound & ~fraction & np.any(sides < 1, axis=1)
    leaving = np.any(starts + sides > limits[:, 2:] + _ROUNDING, axis=1)
    fitting = np.all((starts >= 0) & (starts < sides) & (sides <= limits[:, 2:]), axis=1)
    for kind, cases in (
        ("boxes within [0, 1], as fractions of an image are, where pixels are expected", fraction),
        ("boxes thinner than a pixel, more than half of the part's", thin),
        ("boxes that leave their image as x y w h, and fit it as x0 y0 x1 y1", leaving & fitting),
    ):
        if 2 * cases.sum() > len(boxes):
            _count(tally, kind, boxes, cases)


def _refuse(
    boxes: Sequence[Box], bad: Bool[np.ndarray, " n"], sizes: Float64[np.ndarray, "n 2"]
) -> None:
    if not bad.any():
        return
    first = int(bad.argmax())
    height, width = sizes[first]
    raise DataError(
        boxes[first].name,
        f"x y w h {list(boxes[first].xywh)}",
        f"a box with an area inside its image of {width:g} x {height:g}",
        f"mend or remove it, and all {int(bad.sum())} of this part that nothing could match",
    )


def _count(tally: Tally, kind: str, boxes: Sequence[Box], cases: Bool[np.ndarray, " n"]) -> None:
    if cases.any():
        tally.add(kind, boxes[int(cases.argmax())].name, int(cases.sum()))
