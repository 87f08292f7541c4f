"""Reading the user's images: headers are checked when the data open, pixels are read on demand.

    scan_images([folder / "a.jpg", folder / "b.png"], "train", problems)
        ->  sizes [(480, 640), (500, 375)] and a fingerprint; refuses truncated files and 16 bits
    read_image(folder / "a.jpg")
        ->  uint8 (3, 480, 640), RGB, in the order in which the file stores its pixels

A scan reads the header and the end of a file: formats have an end marker there, so a truncated
download is found without decoding. A format without end marker is decoded. Damage in the middle
is found when a PNG is read, by its checksums; other formats have none, and it may pass.
"""

import os
import warnings
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, cast

import numpy as np
import torch
from jaxtyping import UInt8
from PIL import Image
from torch import Tensor

from quatrain.specs import DataError
from quatrain.tasks.text import check_not_pointer, open_data
from quatrain.tasks.vision.data_warnings import DataWarnings
from quatrain.tasks.vision.files import check_files, sha256
from quatrain.tasks.vision.orientation import load_as_stored, orientation

EIGHT_BIT_MODES = frozenset({"1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr"})
_FORMATS = frozenset({"BMP", "GIF", "JPEG", "MPO", "PNG", "PPM", "TIFF", "WEBP"})
"""Formats of known bit depth. Others are not decoded: the decoder of EPS is another program, and
that of FITS decompresses without a limit."""
_END_MARKERS = {"JPEG": b"\xff\xd9", "MPO": b"\xff\xd9", "PNG": b"IEND"}
_END_BYTES = 4096
_PNG_HEADER = 12
_PNG_BITS = 24
_TIFF_BITS = 258


@dataclass(frozen=True)
class ImageSize:
    """Height and width in pixels, as stored."""

    height: int
    width: int

    def __str__(self) -> str:
        return f"{self.width} x {self.height}"


@dataclass(frozen=True)
class ImageScan:
    """The sizes of a part's images, and a hash of their files."""

    sizes: list[ImageSize]
    fingerprint: str


def scan_images(paths: Sequence[Path], source: str, problems: DataWarnings) -> ImageScan:
    """Check images without decoding their pixels; `source` names their list in errors.

    Alpha channels and orientations, which are not used, are counted in `problems`. The fingerprint
    is a SHA-256 of each image's name, length, first and last 4 KiB.

    Raises:
        DataError: if a file is missing, no image, truncated, or has 16 bits a channel, or may.
    """
    check_files(paths, source)
    sizes: list[ImageSize] = []
    pieces: list[bytes] = []
    for path in paths:
        head, tail, length = read_ends(path)
        with open_image(path) as image:
            check_bit_depth(image, head, path)
            if image.mode in {"LA", "PA", "RGBA"} or "transparency" in image.info:
                problems.add("images with an alpha channel, which is not used", path.name)
            note_orientation(image, path, "images", problems)
            marker = _END_MARKERS.get(image.format or "")
            complete = marker is not None and marker in tail
            stored = image if complete else decode_pixels(image, path)
            sizes.append(ImageSize(stored.height, stored.width))
        pieces += [os.fsencode(path.name), length.to_bytes(8, "little"), head, tail]
    return ImageScan(sizes, sha256(pieces))


def read_image(path: Path) -> UInt8[Tensor, "3 h w"]:
    """Decode an image as RGB: grey is repeated, palettes are looked up, alpha is dropped.

    Pixels are in stored order; the orientation of the metadata is not applied.

    Raises:
        DataError: if the file is broken, or has 16 bits a channel.
    """
    head, _, _ = read_ends(path)
    with open_image(path) as image:
        check_bit_depth(image, head, path)
        stored = decode_pixels(image, path)
        with _decoding(path):
            # Pillow drops the alpha of a palette correctly only by way of RGBA.
            opaque = stored.convert("RGBA") if stored.mode in {"P", "PA"} else stored
            pixels = np.array(opaque.convert("RGB"))
    return torch.from_numpy(pixels).permute(2, 0, 1).contiguous()


def check_size(size: ImageSize, expected: ImageSize, name: str, source: str) -> None:
    """Refuse an image whose size differs from the one that `source` states."""
    if size == expected:
        return
    if size == ImageSize(expected.width, expected.height):
        remedy = "rotate the stored pixels: the orientation in the metadata is not applied"
    else:
        remedy = "use files that belong together"
    message = f"{name} is {size} pixels, but {expected} according to {source}; {remedy}"
    raise DataError(message, name)


def check_unchanged(size: ImageSize, expected: ImageSize, name: str) -> None:
    """Refuse an image whose size is not that of its annotation any more."""
    if size != expected:
        problem = f"{name} is {size} pixels now and its annotation {expected}"
        raise DataError(f"{problem}; do not change data during a run", name)


def read_ends(path: Path) -> tuple[bytes, bytes, int]:
    """The first and last 4 KiB of a file, and its length in bytes."""
    with open_data(path) as file:
        head = file.read(_END_BYTES)
        length = file.seek(0, 2)
        file.seek(max(length - _END_BYTES, 0))
        tail = file.read()
    check_not_pointer(head, str(path))
    return head, tail, length


class _BoundedFile:
    """A file that never reads more bytes than it has; Pillow reads as many as a header says."""

    def __init__(self, file: IO[bytes], size: int) -> None:
        self._file, self._size = file, size

    def read(self, size: int = -1) -> bytes:
        return self._file.read(min(size, self._size))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)


@contextmanager
def open_image(path: Path) -> Iterator[Image.Image]:
    """The image of a file, its header read.

    Raises:
        DataError: if the file is no image, or of a format whose bit depth is unknown.
    """
    with ExitStack() as stack:
        with _decoding(path):
            # From a file name Pillow maps the file, and gives a rotated TIFF a wrong width.
            file = _BoundedFile(stack.enter_context(path.open("rb")), path.stat().st_size)
            image = stack.enter_context(Image.open(cast("IO[bytes]", file)))
        if image.format not in _FORMATS:
            message = f"image {path} is in {image.format}, whose bit depth is unknown; convert it "
            raise DataError(f"{message}to PNG, TIFF, PPM, JPEG, WebP, BMP or GIF", str(path))
        yield image


def decode_pixels(image: Image.Image, path: Path) -> Image.Image:
    """The image with its pixels decoded, in stored order."""
    with _decoding(path):
        return load_as_stored(image)


@contextmanager
def _decoding(path: Path) -> Iterator[None]:
    """Turn any error of a decoder, other than a lack of memory, into one about the file.

    Pillow raises many types: some formats are incomplete (DDS), and some parsers raise any error.
    """
    try:
        # Pillow warns of odd metadata, which is not read, and of very large images.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except MemoryError:
        raise
    except Exception as error:
        first = (str(error).splitlines() or [""])[0]
        reason = first.split(" <_io")[0].split(" '")[0].rstrip(".") or type(error).__name__
        message = f"{str(path)!r} cannot be read as an image ({reason}); replace or remove the file"
        raise DataError(message, str(path)) from error


def check_bit_depth(image: Image.Image, head: bytes, path: Path) -> None:
    """Refuse more than 8 bits a channel, which Pillow would clip or shorten silently."""
    with _decoding(path):
        bits = bit_depth(image, head)
    if bits > 8 or image.mode not in EIGHT_BIT_MODES:
        depth = f"{bits} bits a channel" if bits > 8 else f"mode {image.mode}"
        remedy = "convert it to 8 bits a channel, which decides how values are scaled"
        raise DataError(f"image {path} has {depth}; {remedy}", str(path))


def bit_depth(image: Any, head: bytes) -> int:
    """Bits a channel of the file, which Pillow's mode does not show."""
    if image.format == "PNG":
        bits = head[_PNG_BITS]
        if not head.startswith(b"IHDR", _PNG_HEADER) or bits not in {1, 2, 4, 8, 16}:
            raise ValueError("its header is not at its start")
        return bits
    if image.format == "TIFF":
        return max(image.tag_v2.get(_TIFF_BITS, (1,)))
    if image.format == "PPM":
        _, _, _, decoder = image.tile[0]
        return 8 if isinstance(decoder, str) else int(decoder[1]).bit_length()
    return 8


def note_orientation(image: Image.Image, path: Path, kind: str, problems: DataWarnings) -> None:
    """Count a file of this kind ("labels") whose metadata has an orientation."""
    if orientation(image, path) != 1:
        problems.add(f"{kind} with an orientation, which is not used", path.name)
