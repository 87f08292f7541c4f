"""Build one part of a detection corpus from annotations, checked against the image files.

Boxes without an area in their image are left out of training and refused in held-out parts. Scores
are computed from unchanged annotations, so held-out parts also keep boxes that cross the edge of
their image, which are clipped for training.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float64, UInt8
from torch import Tensor

from quatrain.specs import DataError
from quatrain.tasks.detection.corpus import DetectionPart, GroundTruth, corners
from quatrain.tasks.vision import DataWarnings, ImageSize, format_names, read_image, scan_images
from quatrain.tasks.vision.files import check_unique
from quatrain.tasks.vision.images import check_size
from quatrain.tasks.vision.parts import CheckedPart

_ROUNDING = 0.5
"""Pixels by which a box may cross the edge of its image unnoticed."""
_THINNEST = 0.01
"""Pixels of its image that a box must cover, so that it has an area after resizing."""
_EXACT = 1e-6
"""Rounding error of fractions written as decimals."""


class ImageEntry(NamedTuple):
    """One image, and its size according to the file named `source`."""

    image_id: int
    path: Path
    size: ImageSize
    source: str


class Box(NamedTuple):
    """One annotated box, called `name` in errors."""

    image_id: int
    xywh: tuple[float, float, float, float]
    label: int
    crowd: bool
    area: float
    name: str


@dataclass(frozen=True)
class Annotations:
    """The content of the annotation files of one part.

    `source` names the files in errors; `hashes` are their SHA-256 by name; `categories` are the
    names of the labels 1...C; `first_pixel` is the coordinate that the files give the first pixel.
    """

    source: str
    hashes: dict[str, str]
    images: list[ImageEntry]
    boxes: list[Box]
    categories: tuple[str, ...]
    first_pixel: int = 0


def assemble(
    annotations: Annotations, part: str, *, training: bool, keep_empty: bool
) -> CheckedPart[DetectionPart]:
    """Check a part against its image files."""
    images, source = [entry.path for entry in annotations.images], annotations.source
    check_unique("images", images, source)
    problems = DataWarnings()
    scan = scan_images(images, source, problems)
    for entry, size in zip(annotations.images, scan.sizes, strict=True):
        check_size(size, entry.size, str(entry.path), entry.source)
    truths = _ground_truths(annotations, training=training, problems=problems)
    paths = {entry.image_id: entry.path for entry in annotations.images}
    if all(truth.crowd.all() for truth in truths):
        raise _no_usable_box(annotations, part, problems.warn(part))
    present = {int(label) for truth in truths for label in truth.labels[~truth.crowd]}
    names = enumerate(annotations.categories, start=1)
    absent = [name for label, name in names if label not in present]
    kind = f"categories without a box (crowd not counted): {format_names(absent)}"
    problems.add(kind, count=len(absent))
    if training and not keep_empty:
        for truth in truths:
            if truth.crowd.all():
                problems.add("images without boxes, left out", Path(truth.name).name)
        truths = [truth for truth in truths if not truth.crowd.all()]
    files = [paths[truth.image_id] for truth in truths]
    hashes = annotations.hashes | {f"images of {source}": scan.fingerprint}
    return CheckedPart(DetectionPart(truths, partial(_load, files)), hashes, problems.warn(part))


def _load(files: Sequence[Path], index: int) -> UInt8[Tensor, "3 h w"]:
    return read_image(files[index])


def _ground_truths(
    annotations: Annotations, *, training: bool, problems: DataWarnings
) -> list[GroundTruth]:
    """The valid boxes of each image, in the order of the file."""
    images, boxes = annotations.images, annotations.boxes
    index_of = {entry.image_id: index for index, entry in enumerate(images)}
    image = np.array([index_of[box.image_id] for box in boxes], dtype=np.int64)
    sizes = np.array([(e.size.height, e.size.width) for e in images], dtype=np.float64)
    valid, xywh = check_boxes(
        boxes,
        sizes.reshape(-1, 2)[image],
        training=training,
        problems=problems,
        first_pixel=annotations.first_pixel,
    )
    labels = np.array([box.label for box in boxes], dtype=np.int64)
    crowd = np.array([box.crowd for box in boxes], dtype=np.bool_)
    areas = np.array([box.area for box in boxes], dtype=np.float64)
    order = np.flatnonzero(valid)
    order = order[np.argsort(image[order], kind="stable")]
    starts = np.searchsorted(image[order], np.arange(len(images) + 1))
    truths: list[GroundTruth] = []
    for index, entry in enumerate(images):
        rows = order[starts[index] : starts[index + 1]]
        truths.append(
            GroundTruth(
                image_id=entry.image_id,
                name=str(entry.path),
                height=entry.size.height,
                width=entry.size.width,
                xywh=xywh[rows],
                labels=labels[rows],
                crowd=crowd[rows],
                areas=areas[rows],
            )
        )
    return truths


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


def _no_usable_box(annotations: Annotations, part: str, data_notes: dict[str, int]) -> DataError:
    """The error of a part without a usable box, with the reasons why boxes were left out."""
    kinds = {name.removeprefix(f"{part}: "): count for name, count in data_notes.items()}
    reasons = [f"{count} {kind}" for kind, count in kinds.items() if kind.startswith("boxes")]
    crowd = sum(box.crowd for box in annotations.boxes)
    if crowd:
        reasons.append(f"{crowd} marked as crowd, ignore or difficult")
    counts = f"{len(annotations.images)} images with {len(annotations.boxes)} boxes, none usable"
    problem = f"{counts} ({'; '.join(reasons)})" if reasons else counts
    remedy = "add a box with an area in its image that is no crowd, or choose other files"
    message = f"the {part} part, {annotations.source}, has {problem}; {remedy}"
    return DataError(message, annotations.source)
