import struct
import zlib

import numpy as np
import pytest
from PIL import Image, ImageOps
from PIL.PngImagePlugin import PngInfo

from quatrain.tasks.vision.data_warnings import DataWarning, Tally
from quatrain.tasks.vision.images import (
    ImageSize,
    count_orientation,
    load,
    opened,
    read_image,
    survey,
)
from quatrain.tasks.vision.label_maps import read_plane
from quatrain.tasks.vision.orientation import orientation

PIXELS = np.random.default_rng(0).integers(0, 256, (12, 20, 3), dtype=np.uint8)
TURNS = range(2, 9)


def exif(turn):
    block = Image.Exif()
    block[274] = turn
    return block


def xmp(turn):
    return f'<x:xmpmeta><rdf:Description tiff:Orientation="{turn}"/></x:xmpmeta>'


def chunk(kind, content):
    check = struct.pack(">I", zlib.crc32(kind + content))
    return struct.pack(">I", len(content)) + kind + content + check


def behind_the_pixels(path, kind, content):
    """Put a chunk between the pixels of a PNG and its end."""
    png = path.read_bytes()
    end = png.index(b"IEND") - 4
    path.write_bytes(png[:end] + chunk(kind, content) + png[end:])


def write_jpeg(image, path, turn):
    image.save(path, "JPEG", exif=exif(turn))


def write_mpo(image, path, turn):
    image.save(path, "MPO", save_all=True, append_images=[image], exif=exif(turn))


def write_webp(image, path, turn):
    image.save(path, "WEBP", lossless=True, exif=exif(turn))


def write_png(image, path, turn):
    image.save(path, "PNG", exif=exif(turn))


def write_png_behind(image, path, turn):
    image.save(path, "PNG")
    behind_the_pixels(path, b"eXIf", exif(turn).tobytes()[6:])


def write_png_raw(image, path, turn):
    content = exif(turn).tobytes()
    info = PngInfo()
    info.add_text("Raw profile type exif", f"\nexif\n{len(content):8}\n{content.hex()}\n")
    image.save(path, "PNG", pnginfo=info)


def write_png_xmp(image, path, turn):
    info = PngInfo()
    info.add_itxt("XML:com.adobe.xmp", xmp(turn))
    image.save(path, "PNG", pnginfo=info)


def write_png_xmp_behind(image, path, turn):
    image.save(path, "PNG")
    behind_the_pixels(path, b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + xmp(turn).encode())


def write_tiff(image, path, turn):
    image.save(path, "TIFF", tiffinfo={274: turn})


def write_tiff_lzw(image, path, turn):
    image.save(path, "TIFF", tiffinfo={274: turn}, compression="tiff_lzw")


def write_tiff_xmp(image, path, turn):
    image.save(path, "TIFF", tiffinfo={700: xmp(turn).encode()})


LOSSLESS = [
    write_webp,
    write_png,
    write_png_behind,
    write_png_raw,
    write_png_xmp,
    write_png_xmp_behind,
    write_tiff,
    write_tiff_lzw,
    write_tiff_xmp,
]
FOR_LABELS = [write for write in LOSSLESS if write is not write_webp]


@pytest.mark.parametrize("turn", TURNS)
@pytest.mark.parametrize("write", LOSSLESS)
def test_pixels_are_read_as_stored_and_the_orientation_is_counted(tmp_path, write, turn):
    path = tmp_path / "a.image"
    write(Image.fromarray(PIXELS), path, turn)
    assert np.array_equal(read_image(path).permute(1, 2, 0).numpy(), PIXELS)
    tally = Tally()
    assert survey([path], "train", tally).sizes == [ImageSize(12, 20)]
    with pytest.warns(DataWarning, match=r"train: 1 images with an orientation.*a\.image"):
        tally.warn("train")
    with Image.open(path) as image:
        assert orientation(image, path) == turn
    # A viewer does turn them, so the files do say what they are meant to say.
    with Image.open(path) as image:
        shown = np.array(ImageOps.exif_transpose(image))
    assert not np.array_equal(shown, PIXELS)


@pytest.mark.parametrize("turn", [3, 6])
@pytest.mark.parametrize("write", [write_jpeg, write_mpo])
def test_photographs_are_read_as_stored_too(tmp_path, write, turn):
    plain, turned = tmp_path / "plain.jpg", tmp_path / "turned.jpg"
    image = Image.fromarray(PIXELS)
    write(image, turned, turn)
    write(image, plain, 1)
    assert np.array_equal(read_image(turned).numpy(), read_image(plain).numpy())
    tally = Tally()
    assert survey([plain, turned], "train", tally).sizes == [ImageSize(12, 20)] * 2
    with pytest.warns(DataWarning, match=r"train: 1 images with an orientation.*turned"):
        tally.warn("train")


@pytest.mark.parametrize("turn", TURNS)
@pytest.mark.parametrize("write", FOR_LABELS)
def test_labels_are_read_as_stored_and_their_orientation_is_counted(tmp_path, write, turn):
    path = tmp_path / "a.image"
    values = PIXELS[:, :, 0]
    write(Image.fromarray(values), path, turn)
    assert np.array_equal(read_plane(path)[1], values)
    tally = Tally()
    count_orientation(path, "labels", tally)
    with pytest.warns(DataWarning, match="train: 1 labels with an orientation"):
        tally.warn("train")


NO_TURN = [
    (write, turn)
    for write in (write_jpeg, *LOSSLESS)
    for turn in (0, 1, 9)
    if turn == 1 or write is not write_tiff_lzw  # libtiff writes no other values
]


@pytest.mark.parametrize(("write", "turn"), NO_TURN)
def test_a_file_that_asks_for_no_turn_is_not_counted(tmp_path, write, turn):
    path = tmp_path / "a.image"
    write(Image.fromarray(PIXELS), path, turn)
    tally = Tally()
    survey([path], "train", tally)
    assert tally.warn("train") == {}


def test_a_plain_png_is_not_decoded_to_learn_its_orientation(tmp_path, monkeypatch):
    path = tmp_path / "a.png"
    Image.fromarray(PIXELS).save(path)
    with Image.open(path) as image:
        monkeypatch.setattr(image, "load", lambda: pytest.fail("the image was decoded"))
        assert orientation(image, path) == 1


def test_damaged_metadata_is_none(tmp_path):
    path = tmp_path / "a.jpg"
    Image.fromarray(PIXELS).save(path, exif=b"Exif\0\0II*\0\xff\xff\xff\xff")
    with opened(path) as image:
        assert orientation(image, path) == 1
        assert load(image, path) is image
