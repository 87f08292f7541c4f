"""Read label maps: images whose pixels are class numbers or class colours.

    read_label_map(labels / "a.png")       ->  "L", uint8 (360, 480)

Pillow rescales grey images of few bits to the full range of a screen. That is undone here; formats
where it cannot be undone are refused.
"""

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from quatrain.specs import DataError
from quatrain.tasks.vision.images import (
    EIGHT_BIT_MODES,
    bit_depth,
    check_bit_depth,
    decode_pixels,
    open_image,
    read_ends,
)

_LOSSY = frozenset({"JPEG", "MPO", "WEBP", "jpeg", "tiff_jpeg", "webp"})
_TIFF_PHOTOMETRIC = 262
_BMP_BITS = 28


def read_label_map(path: Path) -> tuple[str, np.ndarray]:
    """Pillow's mode and the stored values of a label map.

    Palette images give their indices, and grey ones the numbers of the file, of 1 to 16 bits.
    """
    head, _, _ = read_ends(path)
    with open_image(path) as image:
        _check_lossless(image, path)
        _check_grey(image, head, path)
        if image.mode in EIGHT_BIT_MODES:
            check_bit_depth(image, head, path)
        scale = _grey_scale(image, head)
        values = np.array(decode_pixels(image, path))
    if scale != 1:
        values = np.rint(values / scale).astype(values.dtype)
    return image.mode, values


def _check_lossless(image: Image.Image, path: Path) -> None:
    """Refuse lossy compression, which changes classes near the borders of objects."""
    for kind in (image.format, image.info.get("compression")):
        if kind in _LOSSY:
            problem = f"label {path} is in {kind.upper()}, which is lossy"
            raise DataError(f"{problem}; export the labels again, for example as PNG", str(path))


def _check_grey(image: Any, head: bytes, path: Path) -> None:
    """Refuse grey that Pillow misreads: TIFF with white as 0, and BMP of less than 8 bits."""
    problem = None
    if image.format == "TIFF" and image.tag_v2.get(_TIFF_PHOTOMETRIC) == 0:
        problem = "grey with white as 0"
    if image.format == "BMP" and image.mode == "L" and head[_BMP_BITS] != 8:
        problem = f"grey of {head[_BMP_BITS]} bits in BMP"
    if problem is not None:
        raise DataError(f"label {path} is {problem}; export the labels again as PNG", str(path))


def _grey_scale(image: Any, head: bytes) -> float:
    """The factor by which Pillow multiplies the grey values of the file."""
    if image.mode not in {"L", "I"}:
        return 1.0
    largest = 255 if image.mode == "L" else 65535
    if image.format == "PPM":
        _, _, _, decoder = image.tile[0]
        return 1.0 if isinstance(decoder, str) else largest / int(decoder[1])
    return 255 / (2 ** bit_depth(image, head) - 1) if image.mode == "L" else 1.0
