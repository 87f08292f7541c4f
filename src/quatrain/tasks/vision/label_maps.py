"""Labels of the user's, which are images too: the numbers that a file holds, and no others.

    read_plane(labels / "a.png")       ->  "L", uint8 (360, 480)

Pillow shows images, so it spreads grey of few bits over all that a screen can show. That is undone
here, and what cannot be undone is refused.
"""

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from quatrain.specs import DataError
from quatrain.tasks.vision.images import EIGHT_BITS, bits_of, edges, load, opened, refuse_deep

_LOSSY = frozenset({"AVIF", "JPEG", "JPEG2000", "MPO", "WEBP", "jpeg", "tiff_jpeg", "webp"})
_TIFF_KIND = 262
_BMP_BITS = 28


def read_plane(path: Path) -> tuple[str, np.ndarray]:
    """Decode an image as it is stored, for labels: its mode and its values.

    Palette images give their indices, and grey ones the numbers of the file, be they of 2 or of 16
    bits.

    Raises:
        DataError: if the file is broken, has colours of 16 bits a channel, or is of a format that
            may have changed the values.
    """
    head, _, _ = edges(path)
    with opened(path) as image:
        _refuse_lossy(image, path)
        _refuse_other_greys(image, head, path)
        if image.mode in EIGHT_BITS:
            refuse_deep(image, head, path)
        spread = _spread(image, head)
        stored = np.array(load(image, path))
    if spread != 1:
        stored = np.rint(stored / spread).astype(stored.dtype)
    return image.mode, stored


def _refuse_lossy(image: Image.Image, path: Path) -> None:
    """Values near the edges of a label would silently be those of other classes."""
    for kind in (image.format, image.info.get("compression")):
        if kind in _LOSSY:
            expected = "a format that keeps each value, as PNG"
            remedy = "write labels anew from what this was made of"
            raise DataError(f"label {path}", f"in {kind.upper()}", expected, remedy)


def _refuse_other_greys(image: Any, head: bytes, path: Path) -> None:
    """Pillow turns white that is 0 round, and takes each number of a small BMP for 8 bits."""
    found = None
    if image.format == "TIFF" and image.tag_v2.get(_TIFF_KIND) == 0:
        found = "grey with white as 0"
    if image.format == "BMP" and image.mode == "L" and head[_BMP_BITS] != 8:
        found = f"grey of {head[_BMP_BITS]} bits in BMP"
    if found is not None:
        expected, remedy = "grey with black as 0, as in PNG", "write labels anew in that format"
        raise DataError(f"label {path}", found, expected, remedy)


def _spread(image: Any, head: bytes) -> float:
    """What Pillow multiplies the numbers of a grey file by, so that the largest fills its mode."""
    if image.mode not in {"L", "I"}:
        return 1.0
    if image.format == "PPM":
        _, _, _, how = image.tile[0]
        return 1.0 if isinstance(how, str) else (255 if image.mode == "L" else 65535) / int(how[1])
    return 255 / (2 ** (bits_of(image, head) or 8) - 1) if image.mode == "L" else 1.0
