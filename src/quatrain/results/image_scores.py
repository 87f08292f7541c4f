"""The file of a run's scores by test image, from which a report draws other test sets.

    write_image_scores(folder, PixelCounts(...))        # runs/1a2b.../image_scores.safetensors
    read_image_scores(folder)

The format is safetensors, which holds numbers and text only, so that a file of unknown origin is
safe to read. A damaged file is as none.
"""

import json
from pathlib import Path
from typing import Any, cast

import numpy as np
from pydantic_core import from_json
from safetensors import SafetensorError
from safetensors.numpy import load, save

from quatrain.results.detection_matches import DetectionMatches
from quatrain.results.files import is_file_within, read_regular, write_atomically
from quatrain.results.pixel_counts import PixelCounts
from quatrain.specs import StoredFileError

IMAGE_SCORES = "image_scores.safetensors"

ImageScores = PixelCounts | DetectionMatches

LARGEST = 2**26
"""Bytes of the largest file that is written or read: some 4 million detections."""

_KINDS: dict[str, type[ImageScores]] = {
    "segmentation": PixelCounts,
    "detection": DetectionMatches,
}


def write_image_scores(folder: Path, scores: ImageScores) -> tuple[str, ...]:
    """Write the file of a run and return its name; no name if it would be larger than `LARGEST`.

    Raises:
        StudyError: if the folder cannot be written.
    """
    (kind,) = (kind for kind, of in _KINDS.items() if isinstance(scores, of))
    arrays = {name: np.ascontiguousarray(x) for name, x in vars(scores).items() if name != "names"}
    content = save(arrays, {"kind": kind, "names": json.dumps(scores.names)})
    if len(content) > LARGEST:
        return ()
    write_atomically(folder / IMAGE_SCORES, content)
    return (IMAGE_SCORES,)


def read_image_scores(folder: Path) -> ImageScores | None:
    """The scores in the folder of a run; None if there are none, or the file is damaged."""
    path = folder / IMAGE_SCORES
    if not is_file_within(path, folder):
        return None
    try:
        content = read_regular(path, "run the cell again", LARGEST)
        if content is None:
            return None
        kind, names = _metadata(content)
        arrays = cast("dict[str, Any]", load(content))
        scores = _KINDS[kind](names=names, **arrays)
        return scores if scores.is_valid() else None
    except (StoredFileError, SafetensorError, ValueError, TypeError, KeyError):
        return None


def _metadata(content: bytes) -> tuple[str, tuple[str, ...]]:
    """The kind and the names in the header: eight bytes with its length, then JSON."""
    header = from_json(content[8 : 8 + int.from_bytes(content[:8], "little")])
    texts = header["__metadata__"]
    names = from_json(texts["names"])
    if not all(isinstance(name, str) for name in names):
        raise ValueError("a name is not text")
    return texts["kind"], tuple(names)
