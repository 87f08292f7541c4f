"""From pairs of an image and a label file to a part of a corpus, all labels checked."""

import hashlib
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Int64, UInt8
from torch import Tensor

from quatrain.specs import DataError
from quatrain.tasks.segmentation.classes import Classes
from quatrain.tasks.segmentation.corpus import IGNORE, SegmentationCorpus, SegmentationPart
from quatrain.tasks.text import read_bytes
from quatrain.tasks.vision import ImageSize, Tally, listed, read_image, survey
from quatrain.tasks.vision.files import refuse_repeats, require_files, sha256
from quatrain.tasks.vision.images import count_orientation, require_size
from quatrain.tasks.vision.label_maps import read_plane


class Pair(NamedTuple):
    """The file of an image and the file of its labels."""

    image: Path
    label: Path


@dataclass(frozen=True)
class Assembled:
    """A part, the SHA-256 of its images and of its labels, and what was not used, by kind."""

    part: SegmentationPart
    images: str
    labels: str
    skipped: dict[str, int]


def assemble(pairs: Sequence[Pair], classes: Classes, part: str) -> Assembled:
    """Check a part and put it together: every label is read once, to count its pixels by class.

    Pixels that are ignored and classes that no pixel has are counted in what was not used.

    Raises:
        DataError: if there is no pair, a file is missing or broken, an image and its label differ
            in size, a label has a value of no class, all pixels are ignored, or some are and the
            others are of one class.
    """
    if not pairs:
        raise DataError(f"the {part} part", "empty", "at least one image", "choose other files")
    refuse_repeats("images", (pair.image for pair in pairs), f"the {part} part")
    tally = Tally()
    found = survey([pair.image for pair in pairs], f"the {part} part", tally)
    require_files([pair.label for pair in pairs], f"the {part} part")
    hashed: list[bytes] = []
    pixels = np.zeros(IGNORE + 1, dtype=np.int64)
    for pair, size in zip(pairs, found.sizes, strict=True):
        label = read_label(pair.label, classes)
        own = ImageSize(*label.shape)
        count_orientation(pair.label, "labels", tally)
        require_size(size, own, pair.image, f"its label {pair.label}")
        pixels += np.bincount(label.numpy().ravel(), minlength=IGNORE + 1)
        content = read_bytes(pair.label)
        hashed += [os.fsencode(pair.label.name), hashlib.sha256(content).digest()]
    names = [entry.name for entry in classes.entries]
    _refuse_ignored_classes(pixels, classes, f"the labels of the {part} part")
    _note_pixels(pixels, names, tally)
    skipped = tally.warn(part)
    images = [str(pair.image) for pair in pairs]
    loaded = SegmentationPart(images, partial(_load, list(pairs), classes))
    return Assembled(loaded, found.fingerprint, sha256(hashed), skipped)


def _refuse_ignored_classes(pixels: Int64[np.ndarray, " v"], classes: Classes, field: str) -> None:
    """Refuse a part that is ignored but for one class: any network gets it wholly right.

    Masks of 0 and 255 are such a part, where the classes do not say `ignore_index`.
    """
    names = [entry.name for entry in classes.entries]
    present = [name for name, number in zip(names, pixels, strict=False) if number]
    if len(present) > 1 or (present and not pixels[IGNORE]):
        return
    of = f'of the class "{present[0]}"' if present else "of a class"
    raise DataError(
        field,
        f"{pixels[:IGNORE].sum():,} pixels {of} and {pixels[IGNORE]:,} ignored ({classes.ignored})",
        "pixels of two classes at least, or of one and none ignored",
        "give the classes the ids that labels hold, with an ignore_index that is none of them ([] "
        "if there is none), or choose other labels",
    )


def _note_pixels(pixels: Int64[np.ndarray, " v"], names: Sequence[str], tally: Tally) -> None:
    """Count what a score will not be of: pixels that are ignored, and classes that are absent."""
    share = 100 * pixels[IGNORE] / pixels.sum()
    shown = f"{share:.1f}" if share >= 0.05 else "< 0.1"
    tally.add(f"pixels ignored, {shown} % of all", times=int(pixels[IGNORE]))
    absent = [name for name, number in zip(names, pixels, strict=False) if not number]
    tally.add(f"classes without a pixel: {listed(absent)}", times=len(absent))


def _load(
    pairs: Sequence[Pair], classes: Classes, index: int
) -> tuple[UInt8[Tensor, "3 h w"], Int64[Tensor, "y x"]]:
    return read_image(pairs[index].image), read_label(pairs[index].label, classes)


def read_label(path: Path, classes: Classes) -> Int64[Tensor, "h w"]:
    """The classes 0...C-1 of a label's pixels, or IGNORE.

    Raises:
        DataError: if the file is broken, or holds what no class has.
    """
    mode, stored = read_plane(path)
    return torch.from_numpy(classes.indices(mode, stored, str(path)))


def read_parts(
    parts: tuple[str, str, str],
    pairs: Callable[[str], list[Pair]],
    classes: Classes,
    hashes: dict[str, str],
) -> SegmentationCorpus:
    """Assemble the training, validation and test part of these names; each name is read once.

    `hashes` holds what is of all parts, and gets the images and the labels of each.
    """
    shared = dict(hashes)
    made = {part: assemble(pairs(part), classes, part) for part in dict.fromkeys(parts)}
    skipped: dict[str, int] = {}
    for part, each in made.items():
        hashes |= {f"images of {part}": each.images, f"labels of {part}": each.labels}
        skipped |= each.skipped
    train, valid, test = (made[part].part for part in parts)
    names = (f"images of {parts[2]}", f"labels of {parts[2]}")
    tested = shared | {each: hashes[each] for each in names}
    return SegmentationCorpus(train, valid, test, classes.entries, hashes, skipped, tested)
