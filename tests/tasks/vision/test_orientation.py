import struct
import zlib

import numpy as np
import pytest
from PIL import Image, ImageOps
from PIL.PngImagePlugin import PngInfo

from quatrain.tasks.vision.data_warnings import DataWarning, DataWarnings
from quatrain.tasks.vision.images import (
    ImageSize,
    decode_pixels,
    note_orientation,
    open_image,
    read_image,
    scan_images,
)
from quatrain.tasks.vision.label_maps import read_label_map
from quatrain.tasks.vision.orientation import orientation

PIXELS = np.random.default_rng(0).integers(0, 256, (12, 20, 3), dtype=np.uint8)
ORIENTATIONS = range(2, 9)


def exif(value):
    block = Image.Exif()
    block[274] = value
    return block


def xmp(value):
    return f'<x:xmpmeta><rdf:Description tiff:Orientation="{value}"/></x:xmpmeta>'


def chunk(kind, content):
    check = struct.pack(">I", zlib.crc32(kind + content))
    return struct.pack(">I", len(content)) + kind + content + check


def add_chunk_after_pixels(path, kind, content):
    """Add a chunk between the pixels of a PNG and its end."""
    png = path.read_bytes()
    end = png.index(b"IEND") - 4
    path.write_bytes(png[:end] + chunk(kind, content) + png[end:])


def write_jpeg(image, path, value):
    image.save(path, "JPEG", exif=exif(value))


def write_mpo(image, path, value):
    image.save(path, "MPO", save_all=True, append_images=[image], exif=exif(value))


def write_webp(image, path, value):
    image.save(path, "WEBP", lossless=True, exif=exif(value))


def write_png(image, path, value):
    image.save(path, "PNG", exif=exif(value))


def write_png_after_pixels(image, path, value):
    image.save(path, "PNG")
    add_chunk_after_pixels(path, b"eXIf", exif(value).tobytes()[6:])


def write_png_raw(image, path, value):
    content = exif(value).tobytes()
    info = PngInfo()
    info.add_text("Raw profile type exif", f"\nexif\n{len(content):8}\n{content.hex()}\n")
    image.save(path, "PNG", pnginfo=info)


def write_png_xmp(image, path, value):
    info = PngInfo()
    info.add_itxt("XML:com.adobe.xmp", xmp(value))
    image.save(path, "PNG", pnginfo=info)


def write_png_xmp_after_pixels(image, path, value):
    image.save(path, "PNG")
    add_chunk_after_pixels(path, b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + xmp(value).encode())


def write_tiff(image, path, value):
    image.save(path, "TIFF", tiffinfo={274: value})


def write_tiff_lzw(image, path, value):
    image.save(path, "TIFF", tiffinfo={274: value}, compression="tiff_lzw")


def write_tiff_xmp(image, path, value):
    image.save(path, "TIFF", tiffinfo={700: xmp(value).encode()})


LOSSLESS = [
    write_webp,
    write_png,
    write_png_after_pixels,
    write_png_raw,
    write_png_xmp,
    write_png_xmp_after_pixels,
    write_tiff,
    write_tiff_lzw,
    write_tiff_xmp,
]
FOR_LABELS = [write for write in LOSSLESS if write is not write_webp]


@pytest.mark.parametrize("value", ORIENTATIONS)
@pytest.mark.parametrize("write", LOSSLESS)
def test_pixels_are_read_as_stored_with_a_warning(tmp_path, write, value):
    path = tmp_path / "a.image"
    write(Image.fromarray(PIXELS), path, value)
    assert np.array_equal(read_image(path).permute(1, 2, 0).numpy(), PIXELS)
    problems = DataWarnings()
    assert scan_images([path], "train", problems).sizes == [ImageSize(12, 20)]
    with pytest.warns(DataWarning):
        (kind,) = problems.warn("train")
    assert "with an orientation" in kind
    with Image.open(path) as image:
        assert orientation(image, path) == value
    # Viewers apply the orientation, so the files contain it.
    with Image.open(path) as image:
        transposed = np.array(ImageOps.exif_transpose(image))
    assert not np.array_equal(transposed, PIXELS)


@pytest.mark.parametrize("value", [3, 6])
@pytest.mark.parametrize("write", [write_jpeg, write_mpo])
def test_jpegs_are_read_as_stored(tmp_path, write, value):
    plain, rotated = tmp_path / "plain.jpg", tmp_path / "rotated.jpg"
    image = Image.fromarray(PIXELS)
    write(image, rotated, value)
    write(image, plain, 1)
    assert np.array_equal(read_image(rotated).numpy(), read_image(plain).numpy())
    problems = DataWarnings()
    assert scan_images([plain, rotated], "train", problems).sizes == [ImageSize(12, 20)] * 2
    with pytest.warns(DataWarning):
        (kind,) = problems.warn("train")
    assert "with an orientation" in kind


@pytest.mark.parametrize("value", ORIENTATIONS)
@pytest.mark.parametrize("write", FOR_LABELS)
def test_labels_are_read_as_stored_with_a_warning(tmp_path, write, value):
    path = tmp_path / "a.image"
    values = PIXELS[:, :, 0]
    write(Image.fromarray(values), path, value)
    assert np.array_equal(read_label_map(path)[1], values)
    problems = DataWarnings()
    with open_image(path) as image:
        note_orientation(image, path, "labels", problems)
    with pytest.warns(DataWarning):
        (kind,) = problems.warn("train")
    assert "with an orientation" in kind


UNCHANGED = [
    (write, value)
    for write in (write_jpeg, *LOSSLESS)
    for value in (0, 1, 9)
    if value == 1 or write is not write_tiff_lzw  # libtiff writes no other values
]


@pytest.mark.parametrize(("write", "value"), UNCHANGED)
def test_a_file_without_a_valid_orientation_gives_no_warning(tmp_path, write, value):
    path = tmp_path / "a.image"
    write(Image.fromarray(PIXELS), path, value)
    problems = DataWarnings()
    scan_images([path], "train", problems)
    assert problems.warn("train") == {}


def test_a_png_without_metadata_is_not_decoded_for_its_orientation(tmp_path, monkeypatch):
    path = tmp_path / "a.png"
    Image.fromarray(PIXELS).save(path)
    with Image.open(path) as image:
        monkeypatch.setattr(image, "load", lambda: pytest.fail("the image was decoded"))
        assert orientation(image, path) == 1


def test_damaged_metadata_is_ignored(tmp_path):
    path = tmp_path / "a.jpg"
    Image.fromarray(PIXELS).save(path, exif=b"Exif\0\0II*\0\xff\xff\xff\xff")
    with open_image(path) as image:
        assert orientation(image, path) == 1
        assert decode_pixels(image, path) is image
