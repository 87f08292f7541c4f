"""Build the parts of a segmentation corpus from pairs of image and label files."""

import hashlib
import os
from collections.abc import Callable, Sequence
from functools import cache, partial
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
from quatrain.tasks.vision import DataWarnings, ImageSize, format_names, read_image, scan_images
from quatrain.tasks.vision.files import check_files, check_unique, sha256
from quatrain.tasks.vision.images import check_size, note_orientation, open_image
from quatrain.tasks.vision.label_maps import read_label_map
from quatrain.tasks.vision.parts import CheckedPart, read_parts


class Pair(NamedTuple):
    """The file of an image and the file of its labels."""

    image: Path
    label: Path


def assemble(pairs: Sequence[Pair], classes: Classes, part: str) -> CheckedPart[SegmentationPart]:
    """Check a part, reading all labels to count the pixels of each class.

    Ignored pixels and absent classes are counted in the data warnings.
    """
    source = f"the {part} part"
    if not pairs:
        raise DataError(f"{source} has no images; choose other files", source)
    images = [pair.image for pair in pairs]
    check_unique("images", images, source)
    problems = DataWarnings()
    scan = scan_images(images, source, problems)
    check_files([pair.label for pair in pairs], source)
    pieces: list[bytes] = []
    pixels = np.zeros(IGNORE + 1, dtype=np.int64)
    for pair, size in zip(pairs, scan.sizes, strict=True):
        label = read_label(pair.label, classes)
        with open_image(pair.label) as stored:
            note_orientation(stored, pair.label, "labels", problems)
        check_size(size, ImageSize(*label.shape), str(pair.image), f"its label {pair.label}")
        pixels += np.bincount(label.numpy().ravel(), minlength=IGNORE + 1)
        content = read_bytes(pair.label)
        pieces += [os.fsencode(pair.label.name), hashlib.sha256(content).digest()]
    names = [entry.name for entry in classes.entries]
    _check_classes(pixels, names, classes.ignored, source)
    share = 100 * pixels[IGNORE] / pixels.sum()
    percent = f"{share:.1f}" if share >= 0.05 else "< 0.1"
    problems.add(f"pixels ignored, {percent} % of all", count=int(pixels[IGNORE]))
    absent = [name for name, number in zip(names, pixels, strict=False) if not number]
    problems.add(f"classes without a pixel: {format_names(absent)}", count=len(absent))
    load = partial(_load, list(pairs), classes)
    loaded = SegmentationPart(list(map(str, images)), load, scan.sizes)
    hashes = {f"images of {part}": scan.fingerprint, f"labels of {part}": sha256(pieces)}
    return CheckedPart(loaded, hashes, problems.warn(part))


def _check_classes(
    pixels: Int64[np.ndarray, " v"], names: Sequence[str], ignored: str, source: str
) -> None:
    """Refuse a part of which all scored pixels are of one class, if others are ignored.

    Masks of 0 and 255 without `ignore_index` are the common case, and any network scores 100.
    """
    present = [name for name, number in zip(names, pixels, strict=False) if number]
    if len(present) > 1 or (present and not pixels[IGNORE]):
        return
    of = f'of the class "{present[0]}"' if present else "of a class"
    numbers = f"{pixels[:IGNORE].sum():,} pixels {of} and {pixels[IGNORE]:,} ignored ({ignored})"
    message = (
        f"the labels of {source} have {numbers}; set the ids of the classes to the values in the "
        "labels, and ignore_index to another value ([] for none), or choose other labels"
    )
    raise DataError(message, source)


def _load(
    pairs: Sequence[Pair], classes: Classes, index: int
) -> tuple[UInt8[Tensor, "3 h w"], Int64[Tensor, "y x"]]:
    return read_image(pairs[index].image), read_label(pairs[index].label, classes)


def read_label(path: Path, classes: Classes) -> Int64[Tensor, "h w"]:
    """The classes 0...C-1 of a label's pixels, or IGNORE."""
    mode, values = read_label_map(path)
    return torch.from_numpy(classes.indices(mode, values, str(path)))


def read_pairs(
    parts: tuple[str, str, str],
    pairs: Callable[[str], list[Pair]],
    classes: Classes,
    shared_hashes: dict[str, str],
) -> SegmentationCorpus:
    """Read the training, validation and test part of these names, each name once.

    Args:
        parts: The names of the parts.
        pairs: The files of a part of that name.
        classes: The classes of all parts.
        shared_hashes: SHA-256 of files that all parts share, by name.
    """

    @cache
    def read_part(part: str) -> CheckedPart[SegmentationPart]:
        return assemble(pairs(part), classes, part)

    fields = read_parts(parts, lambda part, _: read_part(part), shared_hashes)
    return SegmentationCorpus(**fields, classes=classes.entries)
