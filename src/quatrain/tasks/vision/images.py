"""Images of the user's: looked over when the data are opened, read when they are needed.

    survey([photos / "a.jpg", photos / "b.png"], "train", tally)
        ->  sizes [(480, 640), (500, 375)], a fingerprint; truncated files and 16 bits are refused
    read_image(photos / "a.jpg")
        ->  uint8 (3, 480, 640), whatever the file's colours, in the order in which it stores them

Looking over reads the header and the end of a file: formats put an end mark there, so a truncated
download shows without decoding. Where no mark is found, the image is decoded to be sure. Damage in
the middle shows when a PNG is read, by its checksums; other formats have none, and it may pass.
"""

import os
import warnings
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import UInt8
from PIL import Image
from torch import Tensor

from quatrain.specs import DataError
from quatrain.tasks.text import check_not_pointer, unreadable
from quatrain.tasks.vision.data_warnings import Tally
from quatrain.tasks.vision.files import require_files, sha256
from quatrain.tasks.vision.orientation import load_as_stored, orientation

_SHALLOW = frozenset({"BMP", "GIF", "JPEG", "MPO", "WEBP"})
EIGHT_BITS = frozenset({"1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr"})
_END_MARKS = {"JPEG": b"\xff\xd9", "MPO": b"\xff\xd9", "PNG": b"IEND"}
_EDGE = 4096
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
class Survey:
    """What looking over a part's images found."""

    sizes: list[ImageSize]
    fingerprint: str


def survey(paths: Sequence[Path], whose: str, tally: Tally) -> Survey:
    """Look over images without decoding them.

    Alpha channels and orientations, which reading does not use, are counted in `tally`. The
    fingerprint is a SHA-256 of each image's name, length, first and last 4 KiB.

    Raises:
        DataError: if a file is missing, no image, truncated, or has 16 bits a channel, or may.
    """
    require_files(paths, whose)
    sizes: list[ImageSize] = []
    marks: list[bytes] = []
    for path in paths:
        head, tail, length = edges(path)
        with opened(path) as image:
            refuse_deep(image, head, path)
            if image.mode in {"LA", "PA", "RGBA"} or "transparency" in image.info:
                tally.add("images with an alpha channel, which is not used", path.name)
            _count_orientation(image, path, "images", tally)
            mark = _END_MARKS.get(image.format or "")
            complete = mark is not None and mark in tail
            stored = image if complete else load(image, path)
            sizes.append(ImageSize(stored.height, stored.width))
        marks += [os.fsencode(path.name), length.to_bytes(8, "little"), head, tail]
    return Survey(sizes, sha256(marks))


def read_image(path: Path) -> UInt8[Tensor, "3 h w"]:
    """Decode an image as RGB: grey is repeated, palettes are looked up, alpha is left out.

    Pixels come as they are stored, whatever orientation the file gives.

    Raises:
        DataError: if the file is broken, or has 16 bits a channel.
    """
    head, _, _ = edges(path)
    with opened(path) as image:
        refuse_deep(image, head, path)
        stored = load(image, path)
        with _reading(path):
            # A palette may hold alpha as bytes, which Pillow only looks up by way of RGBA.
            whole = stored.convert("RGBA") if stored.mode in {"P", "PA"} else stored
            pixels = np.array(whole.convert("RGB"))
    return torch.from_numpy(pixels).permute(2, 0, 1).contiguous()


def require_size(found: ImageSize, wanted: ImageSize, path: Path, source: str) -> None:
    """Refuse an image that has another size than `source` says.

    Raises:
        DataError: with both sizes, and a hint where one is the other turned.
    """
    if found == wanted:
        return
    turned = found == ImageSize(wanted.width, wanted.height)
    remedy = (
        "turn the pixels of the file: the orientation that it gives is not used"
        if turned
        else "the two must belong together"
    )
    raise DataError(f"the size of {path}", str(found), f"{wanted}, as {source} says", remedy)


def edges(path: Path) -> tuple[bytes, bytes, int]:
    """The first and last 4 KiB of a file, and its length in bytes.

    Raises:
        DataError: if it cannot be read, or is a pointer to the data.
    """
    try:
        with path.open("rb") as file:
            head = file.read(_EDGE)
            length = file.seek(0, 2)
            file.seek(max(length - _EDGE, 0))
            tail = file.read()
    except (OSError, ValueError) as error:
        raise unreadable("image", path, error) from error
    check_not_pointer(head, str(path))
    return head, tail, length


@contextmanager
def opened(path: Path) -> Iterator[Image.Image]:
    """The image of a file, its header read.

    Raises:
        DataError: if it is no image.
    """
    with ExitStack() as stack:
        with _reading(path):
            # Given a name, Pillow maps the file, and takes a turned TIFF for one of another width.
            image = stack.enter_context(Image.open(stack.enter_context(path.open("rb"))))
        yield image


def load(image: Image.Image, path: Path) -> Image.Image:
    """Its decoded pixels, in the order in which the file stores them.

    Raises:
        DataError: if the file is broken.
    """
    with _reading(path):
        return load_as_stored(image)


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    """A decoder at work: an error other than a lack of memory means that the file is broken.

    Some formats are not done in full (DDS), some raise what their parsing ran into.
    """
    try:
        # Pillow warns of odd metadata, which is not read, and of very large images.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except MemoryError:
        raise
    except Exception as error:
        raise _broken(path, error) from error


def _broken(path: Path, error: Exception) -> DataError:
    first = (str(error).splitlines() or [""])[0]
    reason = first.split(" <_io")[0].split(" '")[0].rstrip(".") or type(error).__name__
    return DataError(
        "image", str(path), f"an image that can be read ({reason})", "replace or remove the file"
    )


def refuse_deep(image: Image.Image, head: bytes, path: Path) -> None:
    """Pillow would clip, or take the high byte, and not say so.

    Raises:
        DataError: if there are more than 8 bits a channel, or there may be.
    """
    with _reading(path):
        bits = bits_of(image, head)
    if bits is None:
        known = "one that tells its depth, as PNG, TIFF, PPM, JPEG, WebP, BMP and GIF do"
        raise DataError(f"image {path}", f"in {image.format}", known, "convert it")
    if bits > 8 or image.mode not in EIGHT_BITS:
        depth = f"{bits} bits a channel" if bits > 8 else f"mode {image.mode}"
        raise DataError(
            f"image {path}", depth, "8 bits a channel", "convert it, which decides how to scale"
        )


def bits_of(image: Any, head: bytes) -> int | None:
    """Bits a channel in the file, which Pillow's mode does not tell; None where nothing does."""
    if image.format == "PNG":
        return head[_PNG_BITS]
    if image.format == "TIFF":
        return max(image.tag_v2.get(_TIFF_BITS, (1,)))
    if image.format == "PPM":
        _, _, _, how = image.tile[0]
        return 8 if isinstance(how, str) else int(how[1]).bit_length()
    return 8 if image.format in _SHALLOW else None


def count_orientation(path: Path, kind: str, tally: Tally) -> None:
    """Count a file of this kind, "labels", if it has an orientation, which reading does not use.

    Raises:
        DataError: if it is no image, or broken.
    """
    with opened(path) as image:
        _count_orientation(image, path, kind, tally)


def _count_orientation(image: Image.Image, path: Path, kind: str, tally: Tally) -> None:
    if orientation(image, path) != 1:
        tally.add(f"{kind} with an orientation, which is not used", path.name)
