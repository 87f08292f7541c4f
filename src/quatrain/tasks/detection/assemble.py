"""From the entries of annotation files to a part of a corpus, checked against the images."""

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
from quatrain.tasks.detection.corpus import DetectionPart, Truth
from quatrain.tasks.vision import ImageSize, Tally, listed, read_image, survey
from quatrain.tasks.vision.files import refuse_repeats
from quatrain.tasks.vision.images import require_size


class ImageEntry(NamedTuple):
    """One image, and the size that the file named `source` says it has."""

    image_id: int
    path: Path
    size: ImageSize
    source: str


@dataclass(frozen=True)
class Listing:
    """What the annotation files of one part say; `source` names them in errors.

    `categories` are the names of the labels 1...C; `first_pixel` is the number of the first pixel.
    """

    source: str
    images: list[ImageEntry]
    boxes: list[Box]
    categories: tuple[str, ...]
    first_pixel: int = 0


@dataclass(frozen=True)
class Assembled:
    """A part, the fingerprint of its images, and what was left out or changed, by kind."""

    part: DetectionPart
    fingerprint: str
    skipped: dict[str, int]


def assemble(listing: Listing, part: str, *, training: bool, keep_empty: bool) -> Assembled:
    """Check a part and put it together.

    Raises:
        DataError: if an image is missing, broken or of another size than the file says, a held-out
            box cannot be found by anyone, or nothing is left to train on or to score.
    """
    refuse_repeats("images", (entry.path for entry in listing.images), listing.source)
    tally = Tally()
    found = survey([entry.path for entry in listing.images], listing.source, tally)
    for entry, size in zip(listing.images, found.sizes, strict=True):
        require_size(size, entry.size, entry.path, entry.source)
    truths = _truths(listing, training=training, tally=tally)
    paths = {entry.image_id: entry.path for entry in listing.images}
    if all(truth.crowd.all() for truth in truths):
        raise _nothing_left(listing, part, tally.warn(part))
    _note_absent(truths, listing.categories, tally)
    if training and not keep_empty:
        truths = _without_empty(truths, tally)
    skipped = tally.warn(part)
    files = [paths[truth.image_id] for truth in truths]
    loaded = DetectionPart(truths, partial(_load, files))
    return Assembled(loaded, found.fingerprint, skipped)


def _load(files: Sequence[Path], index: int) -> UInt8[Tensor, "3 h w"]:
    return read_image(files[index])


def _truths(listing: Listing, *, training: bool, tally: Tally) -> list[Truth]:
    places = {entry.image_id: place for place, entry in enumerate(listing.images)}
    boxes = listing.boxes
    where = np.array([places[box.image_id] for box in boxes], dtype=np.int64)
    sizes = np.array([(e.size.height, e.size.width) for e in listing.images], dtype=np.float64)
    kept, xywh = check_boxes(
        boxes,
        sizes.reshape(-1, 2)[where],
        training=training,
        tally=tally,
        first_pixel=listing.first_pixel,
    )
    labels = np.array([box.label for box in boxes], dtype=np.int64)
    crowd = np.array([box.crowd for box in boxes], dtype=np.bool_)
    areas = np.array([box.area for box in boxes], dtype=np.float64)
    # Boxes in the order of their images, and within an image in the order of the file.
    order = np.flatnonzero(kept)
    order = order[np.argsort(where[order], kind="stable")]
    starts = np.searchsorted(where[order], np.arange(len(listing.images) + 1))
    truths: list[Truth] = []
    for place, entry in enumerate(listing.images):
        own = order[starts[place] : starts[place + 1]]
        truths.append(
            Truth(
                image_id=entry.image_id,
                name=str(entry.path),
                height=entry.size.height,
                width=entry.size.width,
                xywh=xywh[own],
                labels=labels[own],
                crowd=crowd[own],
                areas=areas[own],
            )
        )
    return truths


def _without_empty(truths: Sequence[Truth], tally: Tally) -> list[Truth]:
    kept: list[Truth] = []
    for truth in truths:
        if truth.crowd.all():
            tally.add("images without boxes, left out", Path(truth.name).name)
        else:
            kept.append(truth)
    return kept


def _note_absent(truths: Sequence[Truth], categories: Sequence[str], tally: Tally) -> None:
    """Count the categories that have nothing to train on, or no AP."""
    present = {int(label) for truth in truths for label in truth.labels[~truth.crowd]}
    absent = [name for label, name in enumerate(categories, start=1) if label not in present]
    tally.add(f"categories without a box (crowd not counted): {listed(absent)}", times=len(absent))


def _nothing_left(listing: Listing, part: str, skipped: dict[str, int]) -> DataError:
    """The error of a part without a box to train on or to score, which says what became of all."""
    kinds = {name.removeprefix(f"{part}: "): times for name, times in skipped.items()}
    reasons = [f"{times} {kind}" for kind, times in kinds.items() if kind.startswith("boxes")]
    crowd = sum(box.crowd for box in listing.boxes)
    if crowd:
        reasons.append(f"{crowd} marked as crowd, to be ignored or difficult")
    found = f"{len(listing.images)} images with {len(listing.boxes)} boxes, none of them usable"
    return DataError(
        f"the {part} part, {listing.source}",
        f"{found} ({'; '.join(reasons)})" if reasons else found,
        "at least one box with an area in its image, and no crowd",
        "mend the boxes, or choose other files",
    )
