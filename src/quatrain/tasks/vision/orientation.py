"""The orientation in an image file's metadata: warned about, never applied, in every format.

    1 as stored, 2 mirrored, 3 upside down, 4 both, 5 to 8 the same with x and y exchanged

It is stored in an EXIF block (JPEG, MPO, PNG, WebP), in TIFF's own tag, or in XMP.

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
_PNG_CHUNKS = (b"eXIf", b"Raw profile type exif", b"XML:com.adobe.xmp")
_PNG_END = 1 << 16


def orientation(image: Image.Image, path: Path) -> int:
    """The orientation of an open image file, from 1 to 8; 1 without such metadata."""
    # Pillow decodes a PNG to find metadata after its pixels, so look for such metadata first.
    if image.format == "PNG" and not (_PNG_KEYS & image.info.keys() or _metadata_at_end(path)):
        return 1
    return _orientation_tag(image)


def load_as_stored(image: Image.Image) -> Image.Image:
    """Decode, and undo the orientation, which Pillow applies to TIFF and to no other format."""
    applied = _orientation_tag(image) if image.format == "TIFF" else 1
    image.load()
    return image.transpose(_INVERSE[applied]) if applied in _INVERSE else image


def _orientation_tag(image: Image.Image) -> int:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            value = image.getexif().get(_TAG, 1)
        except MemoryError:
            raise
        except Exception:  # damaged metadata of an intact image
            return 1
    return value if value in _INVERSE else 1


def _metadata_at_end(path: Path) -> bool:
    with path.open("rb") as file:
        file.seek(max(file.seek(0, 2) - _PNG_END, 0))
        end = file.read()
    return any(chunk in end for chunk in _PNG_CHUNKS)
