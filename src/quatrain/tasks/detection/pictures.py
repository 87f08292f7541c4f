"""Pictures of an image's ground truth and detections, side by side.

    picture = detection_picture(corpus.test[7], detections, corpus.categories)
    write_picture(folder / "detections-7.png", picture)

Shapes: an image is h high and w wide and has n boxes.
"""

import colorsys
from collections.abc import Sequence

import numpy as np
from PIL import Image

from quatrain.tasks.detection.corpus import DetectionSample
from quatrain.tasks.detection.detections import Detections, check_labels
from quatrain.tasks.vision.panels import Box, Color, Panel, draw_panels, to_array

THRESHOLD = 0.3
"""The default of the lowest score of a drawn box."""
MOST_LABELS = 12
"""The number of boxes of a panel above which boxes have no labels, which would hide the image."""
CROWD_COLOR = (150, 150, 150)

_HUE_STEP = 0.618034
"""The golden ratio, which keeps consecutive hues far apart for any number of them."""
_SHADES = ((0.9, 1.0), (0.5, 1.0), (0.95, 0.65))
"""Saturation and value, which differ where hues repeat after five or eight labels."""


def detection_picture(
    sample: DetectionSample,
    detections: Detections,
    categories: Sequence[str],
    *,
    threshold: float = THRESHOLD,
) -> Image.Image:
    """Draw the ground truth and the detections over the image, side by side.

    Boxes have the colour of their category, which the legend shows; crowd boxes are grey.
    Detections with a score of at least `threshold` are drawn, the highest on top; the caption gives
    the total. Boxes are labelled unless there are more than `MOST_LABELS`.

    Args:
        sample: The image in its original size, and its boxes in pixels.
        detections: Detections in pixels of the same image.
        categories: Names of the labels 1...C.
        threshold: The lowest score, from 0 to 1.

    Raises:
        InputError: if a label is not in 1...C.
    """
    for labels in (sample.labels.numpy(), detections.labels):
        check_labels(labels, f"image {sample.image_id}", len(categories))
    expected = _ground_truth_boxes(sample, categories)
    predicted = _detection_boxes(detections, categories, threshold)
    colors = {box.color for box in (*expected, *predicted)}
    legend = {name: category_color(label) for label, name in enumerate(categories, start=1)}
    legend = {**legend, "crowd": CROWD_COLOR}
    number = f"{len(expected)} box{'es' * (len(expected) != 1)}"
    score = f"{len(predicted)} of {len(detections.scores)} with score >= {threshold:g}"
    image = to_array(sample.image)
    return draw_panels(
        [
            Panel(f"ground truth: {number}", image, _without_labels_if_many(expected)),
            Panel(f"detections: {score}", image, _without_labels_if_many(predicted)),
        ],
        legend={name: color for name, color in legend.items() if color in colors},
    )


def category_color(label: int) -> Color:
    """The colour of a label 1...C, the same in every picture."""
    red, green, blue = colorsys.hsv_to_rgb(label * _HUE_STEP % 1, *_SHADES[label % len(_SHADES)])
    return round(255 * red), round(255 * green), round(255 * blue)


def largest_object(sample: DetectionSample) -> tuple[int, int]:
    """The row and column at the centre of the largest box, or of the image without boxes.

    Crowd boxes are ignored.
    """
    height, width = sample.image.shape[1:]
    boxes = sample.boxes[~sample.crowd].double().numpy()
    if not len(boxes):
        return height // 2, width // 2
    x0, y0, x1, y1 = boxes[((boxes[:, 2:] - boxes[:, :2]).prod(axis=1)).argmax()].tolist()
    row, column = np.clip([(y0 + y1) / 2, (x0 + x1) / 2], 0, [height - 1, width - 1])
    return int(row), int(column)


def _ground_truth_boxes(sample: DetectionSample, categories: Sequence[str]) -> list[Box]:
    return [
        Box(box, CROWD_COLOR if crowd else category_color(label), categories[int(label) - 1])
        for box, label, crowd in zip(
            sample.boxes.tolist(), sample.labels.tolist(), sample.crowd.tolist(), strict=True
        )
    ]


def _detection_boxes(
    detections: Detections, categories: Sequence[str], threshold: float
) -> list[Box]:
    """The boxes with a score of at least `threshold`, in the order of their scores."""
    order = np.argsort(detections.scores, kind="stable")
    boxes: list[Box] = []
    for index in order[detections.scores[order] >= threshold].tolist():
        label, score = int(detections.labels[index]), float(detections.scores[index])
        text = f"{categories[label - 1]} {score:.2f}"
        boxes.append(Box(detections.boxes[index].tolist(), category_color(label), text))
    return boxes


def _without_labels_if_many(boxes: list[Box]) -> list[Box]:
    return boxes if len(boxes) <= MOST_LABELS else [box._replace(label="") for box in boxes]
