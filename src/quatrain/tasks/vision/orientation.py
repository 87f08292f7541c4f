"""The orientation that a file asks viewers for: it is counted and not used, in every format.

    1 as stored, 2 mirrored, 3 upside down, 4 both, 5 to 8 the same with x and y exchanged

It stands in an EXIF block (JPEG, MPO, PNG, WebP), in a tag of TIFF's own, or in XMP.

Source: the values are those of EXIF and TIFF 6.0, tag 274,
https://www.loc.gov/preservation/digital/formats/content/tiff_tags.shtml.
"""

import warnings
from pathlib import Path

from PIL import Image

_TAG = 274
_INVERSE = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}
_PNG_KEYS = frozenset({"exif", "Raw profile type exif", "XML:com.adobe.xmp"})
_PNG_MARKS = (b"eXIf", b"Raw profile type exif", b"XML:com.adobe.xmp")
_PNG_END = 1 << 16


def orientation(image: Image.Image, path: Path) -> int:
    """The orientation that the opened file gives, from 1, also where it gives none, to 8."""
    # To be asked for metadata that it may hold behind its pixels, a PNG is decoded.
    if image.format == "PNG" and not (_PNG_KEYS & image.info.keys() or _marked_behind(path)):
        return 1
    return _tag(image)


def load_as_stored(image: Image.Image) -> Image.Image:
    """Decode, and undo the turn that Pillow gives a TIFF: it turns no other format."""
    turn = _tag(image) if image.format == "TIFF" else 1
    image.load()
    return image.transpose(_INVERSE[turn]) if turn in _INVERSE else image


def _tag(image: Image.Image) -> int:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            value = image.getexif().get(_TAG, 1)
        except MemoryError:
            raise
        except Exception:  # damaged metadata beside a sound picture
            return 1
    return value if value in _INVERSE else 1


def _marked_behind(path: Path) -> bool:
    with path.open("rb") as file:
        file.seek(max(file.seek(0, 2) - _PNG_END, 0))
        end = file.read()
    return any(mark in end for mark in _PNG_MARKS)
