"""Build one part of a detection corpus from annotations, checked against the image files."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import UInt8
from torch import Tensor

from quatrain.specs import DataError
from quatrain.tasks.detection.boxes import Box, check_boxes
from quatrain.tasks.detection.corpus import DetectionPart, GroundTruth
from quatrain.tasks.vision import DataWarnings, ImageSize, format_names, read_image, scan_images
from quatrain.tasks.vision.files import check_unique
from quatrain.tasks.vision.images import check_size
from quatrain.tasks.vision.parts import CheckedPart


class ImageEntry(NamedTuple):
    """One image, and its size according to the file named `source`."""

    image_id: int
    path: Path
    size: ImageSize
    source: str


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
