"""What was to be found in an image, and beside it what was.

    picture = detection_picture(corpus.test[7], found, corpus.categories)
    write_picture(folder / "detections-7.png", picture)

Shapes: an image is h high and w wide and has n boxes.
"""

import colorsys
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw

from quatrain.specs import InputError
from quatrain.tasks.detection.corpus import DetectionSample
from quatrain.tasks.detection.found import Found
from quatrain.tasks.vision.panels import TAG_HEIGHT, Panel, Swatch, arrange, fit, tag, to_image

SHOWN_FROM = 0.3
"""The least score of a box that is drawn, where nobody says otherwise."""
MOST_TAGS = 12
"""Of more boxes in a panel no names are drawn, which would hide the image."""
CROWD = (150, 150, 150)
"""The colour of boxes that are no target."""

_LINE = 2
_TURN = 0.618034
"""The golden ratio: hues that follow each other are far apart, however many there are."""
_SHADES = ((0.9, 1.0), (0.5, 1.0), (0.95, 0.65))
"""Saturation and value: they differ where hues, after five or eight labels, come near."""


class _Drawn(NamedTuple):
    box: list[float]
    color: tuple[int, int, int]
    text: str


def detection_picture(
    sample: DetectionSample,
    found: Found,
    categories: Sequence[str],
    *,
    threshold: float = SHOWN_FROM,
) -> Image.Image:
    """Truth and detections over the image, side by side.

    A box has the colour of its category in both, which the legend tells; boxes that are no target
    are grey. Of what was found, boxes with a score of at least `threshold` are drawn, the highest
    on top; the caption says how many there are besides. Names and scores stand above the boxes
    unless there are more than `MOST_TAGS`.

    Args:
        sample: The image as it was read, and its boxes in pixels.
        found: Detections in pixels of the same image.
        categories: Names of the labels 1...C.
        threshold: From 0, which draws all, to 1.

    Raises:
        InputError: if a label is not in 1...C.
    """
    for labels in (sample.labels.numpy(), found.labels):
        if len(labels) and not 1 <= labels.min() <= labels.max() <= len(categories):
            raise InputError(
                f"the labels of image {sample.image_id}",
                f"{labels.min()} to {labels.max()}",
                f"1 to {len(categories)}",
                "name every category",
            )
    wanted = _wanted(sample, categories)
    given = _given(found, categories, threshold)
    image = to_image(sample.image)
    shown = f"found: {len(given)} of {len(found.scores)} with a score of {threshold:g} or more"
    colors = {each.color for each in (*wanted, *given)}
    legend = [
        swatch
        for swatch in (
            *(Swatch(category_color(i), name) for i, name in enumerate(categories, start=1)),
            Swatch(CROWD, "no target"),
        )
        if swatch.color in colors
    ]
    return arrange(
        [
            Panel(f"truth: {len(wanted)} box{'es' * (len(wanted) != 1)}", _draw(image, wanted)),
            Panel(shown, _draw(image, given)),
        ],
        legend=legend,
    )


def category_color(label: int) -> tuple[int, int, int]:
    """The colour of a label 1...C: the same in every picture, whatever else there is."""
    red, green, blue = colorsys.hsv_to_rgb(label * _TURN % 1, *_SHADES[label % len(_SHADES)])
    return round(255 * red), round(255 * green), round(255 * blue)


def largest_object(sample: DetectionSample) -> tuple[int, int]:
    """The row and column of the pixel at the centre of the largest box; of the image without one.

    Boxes that are no target do not count.
    """
    height, width = sample.image.shape[1:]
    boxes = sample.boxes[~sample.crowd].double().numpy()
    if not len(boxes):
        return height // 2, width // 2
    x0, y0, x1, y1 = boxes[((boxes[:, 2:] - boxes[:, :2]).prod(axis=1)).argmax()].tolist()
    row, column = np.clip([(y0 + y1) / 2, (x0 + x1) / 2], 0, [height - 1, width - 1])
    return int(row), int(column)


def _wanted(sample: DetectionSample, categories: Sequence[str]) -> list[_Drawn]:
    drawn: list[_Drawn] = []
    rows = zip(sample.boxes.tolist(), sample.labels.tolist(), sample.crowd.tolist(), strict=True)
    for box, label, crowd in rows:
        name = categories[int(label) - 1]
        if crowd:
            drawn.append(_Drawn(box, CROWD, name))
        else:
            drawn.append(_Drawn(box, category_color(label), name))
    return drawn


def _given(found: Found, categories: Sequence[str], threshold: float) -> list[_Drawn]:
    order = np.argsort(found.scores, kind="stable")
    drawn: list[_Drawn] = []
    for place in order[found.scores[order] >= threshold].tolist():
        label, score = int(found.labels[place]), float(found.scores[place])
        text = f"{categories[label - 1]} {score:.2f}"
        drawn.append(_Drawn(found.boxes[place].tolist(), category_color(label), text))
    return drawn


def _draw(image: Image.Image, drawn: Sequence[_Drawn]) -> Image.Image:
    """The boxes over the enlarged image: a line lies inside its box, a name above it."""
    panel, (across, down) = fit(image)
    draw = ImageDraw.Draw(panel)
    for (x0, y0, x1, y1), color, text in drawn:
        left, top = round(x0 * across), round(y0 * down)
        right, bottom = round(x1 * across) - 1, round(y1 * down) - 1
        place = (left, top, max(left, right), max(top, bottom))
        draw.rectangle(place, outline=color, width=_LINE)
        if len(drawn) <= MOST_TAGS:
            tag(draw, (left, top - TAG_HEIGHT), text, color)
    return panel
