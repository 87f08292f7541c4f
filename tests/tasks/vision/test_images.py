import os
import struct
import warnings
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from PIL.TiffImagePlugin import TiffImageFile

from quatrain.specs import DataError
from quatrain.tasks.vision.data_warnings import DataWarning, DataWarnings
from quatrain.tasks.vision.files import sha256
from quatrain.tasks.vision.images import (
    ImageSize,
    check_size,
    open_image,
    read_image,
    scan_images,
)
from quatrain.tasks.vision.label_maps import read_label_map

_TINY = bytes.fromhex(
    "89504e470d0a1a0a0000000d49484452000000010000000108000000003a7e9b55"
    "0000000a49444154789c6360000000020001 48afa4710000000049454e44ae426082".replace(" ", "")
)
PIXELS = np.random.default_rng(0).integers(0, 256, (12, 20, 3), dtype=np.uint8)


def saved(path, mode="RGB", **options):
    Image.fromarray(PIXELS).convert(mode).save(path, **options)
    return path


def scan(path):
    """Scan one file that gives no warnings."""
    problems = DataWarnings()
    result = scan_images([path], "train", problems)
    assert problems.warn("train") == {}
    return result


def refusal(function, path):
    """The error of a function, which names the file in one sentence."""
    with pytest.raises(DataError) as error:
        function(path)
    assert repr(str(path))[1:-1] in str(error.value)
    assert "\n" not in str(error.value)
    return error.value


def test_pixels_are_read_as_channels_of_rows(tmp_path):
    path = saved(tmp_path / "a.png")
    assert torch.equal(read_image(path), torch.from_numpy(PIXELS).permute(2, 0, 1))
    assert scan(path).sizes == [ImageSize(12, 20)]


@pytest.mark.parametrize("mode", ["L", "1", "P"])
def test_grey_and_palette_images_become_rgb(tmp_path, mode):
    path = saved(tmp_path / "a.png", mode)
    scan(path)
    expected = np.array(Image.fromarray(PIXELS).convert(mode).convert("RGB"))
    assert np.array_equal(read_image(path).permute(1, 2, 0).numpy(), expected)


def test_a_cmyk_image_becomes_rgb(tmp_path):
    path = saved(tmp_path / "a.jpg", "CMYK", quality=95)
    scan(path)
    assert read_image(path).shape == (3, 12, 20)


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_an_alpha_channel_is_dropped_with_a_warning(tmp_path, mode):
    pixels = np.concatenate([PIXELS, np.full((12, 20, 1), 9, np.uint8)], -1)
    path = tmp_path / "a.png"
    Image.fromarray(pixels).convert(mode).save(path)
    problems = DataWarnings()
    scan_images([path], "train", problems)
    with pytest.warns(DataWarning):
        (kind,) = problems.warn("train")
    assert "alpha channel" in kind
    expected = np.array(Image.open(path).convert("RGB"))
    assert np.array_equal(read_image(path).permute(1, 2, 0).numpy(), expected)
    if mode == "RGBA":
        assert np.array_equal(expected, PIXELS)


def test_a_palette_with_alpha_is_read_without_a_warning_of_the_decoder(tmp_path):
    path = tmp_path / "a.png"
    Image.fromarray(PIXELS).convert("P").save(path, transparency=bytes(range(256)))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        scan_images([path], "train", DataWarnings())
        assert read_image(path).shape == (3, 12, 20)


@pytest.mark.parametrize("ending", ["png", "tif"])
def test_sixteen_bits_are_refused(tmp_path, ending):
    path = tmp_path / f"a.{ending}"
    Image.fromarray(np.arange(240, dtype=np.uint16).reshape(12, 20) * 200).save(path)
    for function in (scan, read_image):
        assert "16 bits a channel" in str(refusal(function, path))


def test_sixteen_bits_in_colour_are_refused(tmp_path):
    """Pillow writes no such PNG, so the bit depth of the header is changed."""
    path = saved(tmp_path / "a.png")
    content = bytearray(path.read_bytes())
    content[24] = 16
    content[29:33] = struct.pack(">I", zlib.crc32(content[12:29]))
    path.write_bytes(bytes(content))
    assert "16 bits a channel" in str(refusal(scan, path))


def tiff_in_colour(path):
    """Write a TIFF of 3 x 16 bits, which Pillow does not write."""
    values = np.full((2, 3, 3), 40_000, np.dtype("<u2")).tobytes()
    bits = struct.pack("<3H", 16, 16, 16)
    entries = [
        (256, 3, 1, 3),
        (257, 3, 1, 2),
        (258, 3, 3, 8 + len(values)),
        (259, 3, 1, 1),
        (262, 3, 1, 2),
        (273, 4, 1, 8),
        (277, 3, 1, 3),
        (278, 3, 1, 2),
        (279, 4, 1, len(values)),
    ]
    directory = struct.pack("<H", len(entries))
    directory += b"".join(struct.pack("<HHII", *entry) for entry in entries) + bytes(4)
    head = b"II*\0" + struct.pack("<I", 8 + len(values) + len(bits))
    path.write_bytes(head + values + bits + directory)


def map_in_colour(path):
    path.write_bytes(b"P6 3 2 65535\n" + bytes(36))


def jpeg_2000_in_colour(path):
    sizes = struct.pack(">8I", 3, 2, 0, 0, 3, 2, 0, 0)
    header = struct.pack(">HHH", 0xFF51, 47, 0) + sizes + struct.pack(">H", 3)
    path.write_bytes(b"\xff\x4f" + header + bytes((15, 1, 1)) * 3)


@pytest.mark.parametrize(
    ("name", "write", "problem"),
    [
        ("a.tif", tiff_in_colour, "16 bits a channel"),
        ("a.ppm", map_in_colour, "16 bits a channel"),
        ("a.j2k", jpeg_2000_in_colour, "in JPEG2000"),
    ],
)
def test_sixteen_bits_in_colour_are_refused_in_other_formats(tmp_path, name, write, problem):
    path = tmp_path / name
    write(path)
    with Image.open(path) as image:
        assert image.mode == "RGB"
    for function in (scan, read_image, read_label_map):
        assert problem in str(refusal(function, path))


def test_eight_bits_in_other_formats_are_read(tmp_path):
    for name, head in (("a.ppm", b"P6 3 2 255\n"), ("b.ppm", b"P6 3 2 100\n")):
        path = tmp_path / name
        path.write_bytes(head + bytes(range(18)))
        assert read_image(path).shape == (3, 2, 3)
    for ending in ("tif", "bmp", "webp", "gif"):
        assert read_image(saved(tmp_path / f"a.{ending}")).shape == (3, 12, 20)


@pytest.mark.parametrize("options", [{}, {"progressive": True}])
@pytest.mark.parametrize("ending", ["jpg", "png"])
def test_a_truncated_image_is_refused_without_decoding(tmp_path, ending, options):
    path = tmp_path / f"a.{ending}"
    large = np.random.default_rng(0).integers(0, 256, (200, 200, 3), dtype=np.uint8)
    Image.fromarray(large).save(path, **(options if ending == "jpg" else {}))
    path.write_bytes(path.read_bytes()[:-5000])
    for function in (scan, read_image):
        refusal(function, path)


def test_bytes_after_the_end_are_ignored(tmp_path):
    path = saved(tmp_path / "a.jpg")
    path.write_bytes(path.read_bytes() + bytes(10_000))
    assert scan(path).sizes == [ImageSize(12, 20)]


def test_a_png_with_damaged_pixels_is_refused_when_read(tmp_path):
    path = tmp_path / "a.png"
    large = np.random.default_rng(0).integers(0, 256, (200, 200, 3), dtype=np.uint8)
    Image.fromarray(large).save(path)
    content = bytearray(path.read_bytes())
    content[20_000:40_000] = bytes(20_000)
    path.write_bytes(bytes(content))
    scan(path)
    refusal(read_image, path)


@pytest.mark.parametrize("content", [b"", b"not an image at all", b"\xff\xd8\xff\xe0\xff\xd9"])
def test_a_file_that_is_no_image_is_refused(tmp_path, content):
    path = tmp_path / "a.jpg"
    path.write_bytes(content)
    for function in (scan, read_image):
        assert refusal(function, path).field == str(path)


def test_a_missing_file_is_refused(tmp_path):
    assert refusal(scan, tmp_path / "a.jpg").field == "train"
    for name in ("a.jpg", "a\0.jpg"):
        assert refusal(read_image, tmp_path / name).field == str(tmp_path / name)


@pytest.mark.timeout(20)
def test_a_named_pipe_is_refused_without_opening_it(tmp_path):
    path = tmp_path / "a.png"
    os.mkfifo(path)
    for function in (scan, read_image, read_label_map):
        assert "regular file" in str(refusal(function, path))


def test_an_orientation_gives_a_warning_and_is_not_applied(tmp_path):
    exif = Image.Exif()
    exif[274] = 6
    path = saved(tmp_path / "a.jpg", exif=exif)
    problems = DataWarnings()
    assert scan_images([path], "train", problems).sizes == [ImageSize(12, 20)]
    with pytest.warns(DataWarning):
        (kind,) = problems.warn("train")
    assert "orientation" in kind
    assert read_image(path).shape == (3, 12, 20)


def test_a_wrong_size_is_refused():
    check_size(ImageSize(3, 4), ImageSize(3, 4), "a.png", "train.json")
    for size, remedy in ((ImageSize(3, 5), "belong together"), (ImageSize(4, 3), "rotate")):
        with pytest.raises(DataError) as error:
            check_size(ImageSize(3, 4), size, "a.png", "train.json")
        assert error.value.field == "a.png"
        assert f"is 4 x 3 pixels, but {size} according to train.json" in str(error.value)
        assert remedy in str(error.value)


def test_the_fingerprint_depends_on_content_names_and_order(tmp_path):
    first, second = saved(tmp_path / "a.png"), saved(tmp_path / "b.png", "L")

    def fingerprint(*paths):
        return scan_images(paths, "train", DataWarnings()).fingerprint

    before = fingerprint(first, second)
    assert before == fingerprint(first, second)
    assert before != fingerprint(second, first)
    (tmp_path / "c.png").write_bytes(first.read_bytes())
    assert fingerprint(first) != fingerprint(tmp_path / "c.png")
    saved(first, "L")
    assert before != fingerprint(first, second)


def dds_of_unknown_pixel_format(path):
    """For this DDS, Pillow raises NotImplementedError."""
    saved(path)
    content = bytearray(path.read_bytes())
    content[80:88] = struct.pack("<I4s", 4, b"ZZZZ")
    path.write_bytes(content)


def avif_without_its_pixels(path):
    """For this AVIF, Pillow raises RuntimeError."""
    saved(path)
    path.write_bytes(path.read_bytes().replace(b"iloc", b"free"))


def tiff_without_its_pixels(path):
    saved(path, compression="tiff_lzw")
    content = path.read_bytes()
    path.write_bytes(content[:8] + bytes(40) + content[48:])


def palette_cut_short(path):
    saved(path, "P")
    content = path.read_bytes()
    path.write_bytes(content[: content.index(b"IDAT") + 12] + content[-12:])


@pytest.mark.parametrize(
    ("name", "write"),
    [
        ("a.dds", dds_of_unknown_pixel_format),
        ("a.avif", avif_without_its_pixels),
        ("a.tif", tiff_without_its_pixels),
        ("a.png", palette_cut_short),
    ],
)
def test_any_file_that_a_decoder_refuses_is_refused(tmp_path, name, write):
    path = tmp_path / name
    write(path)
    for function in (read_image, read_label_map):
        assert refusal(function, path).field == str(path)


def fits_of_16_bits(path):
    """An image of astronomy in 16 bits, a mode of label maps."""
    cards = ["SIMPLE  =                    T", "BITPIX  =                   16"]
    cards += ["NAXIS   =                    2", "NAXIS1  =                   20"]
    cards += ["NAXIS2  =                   12", "END"]
    path.write_bytes("".join(card.ljust(80) for card in cards).ljust(2880).encode() + bytes(2880))


@pytest.mark.parametrize("name", ["a.dds", "a.avif", "a.eps", "a.fits"])
def test_other_formats_are_refused_without_decoding(tmp_path, name, monkeypatch):
    path = tmp_path / name
    fits_of_16_bits(path) if path.suffix == ".fits" else saved(
        path, "L" if ".eps" in name else "RGB"
    )
    monkeypatch.setattr(Image.Image, "load", None)
    for function in (scan, read_image, read_label_map):
        assert f"is in {path.suffix[1:].upper()}" in str(refusal(function, path))


@pytest.mark.parametrize("error", [OverflowError, RuntimeError("two\nlines"), KeyError("x")])
def test_any_error_of_a_decoder_is_one_sentence(tmp_path, monkeypatch, error):
    path = saved(tmp_path / "a.png")

    def fail(*_):
        raise error

    monkeypatch.setattr(Image.Image, "convert", fail)
    refusal(read_image, path)


def test_a_decoder_reads_no_more_bytes_than_the_file_has(tmp_path):
    path = saved(tmp_path / "a.png")
    with open_image(path) as image:
        image.fp.seek(0)
        assert image.fp.read(2**62) == path.read_bytes()


def test_a_png_that_does_not_begin_with_its_header_is_refused(tmp_path):
    path = tmp_path / "a.png"
    text = b"tEXta\0b" + bytes(20)
    chunk = struct.pack(">I", len(text) - 4) + text + struct.pack(">I", zlib.crc32(text))
    path.write_bytes(_TINY[:8] + chunk + _TINY[8:])
    for function in (scan, read_image, read_label_map):
        refusal(function, path)


def test_a_git_lfs_pointer_is_refused(tmp_path):
    path = tmp_path / "a.jpg"
    path.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n")
    for function in (scan, read_image, read_label_map):
        assert "git lfs pull" in str(refusal(function, path))


def test_a_name_that_is_not_utf_8_is_part_of_the_fingerprint(tmp_path):
    home = os.fsencode(tmp_path)
    first, second = (saved(Path(os.fsdecode(home + b"/%c.png" % byte))) for byte in (255, 254))
    assert scan(first).fingerprint != scan(second).fingerprint
    assert read_image(first).shape == (3, 12, 20)


def test_the_fingerprint_is_the_same_as_in_earlier_versions(tmp_path):
    path = tmp_path / "añ.png"
    path.write_bytes(_TINY)
    name, length = path.name.encode(), len(_TINY).to_bytes(8, "little")
    assert scan(path).fingerprint == sha256([name, length, _TINY, _TINY])


@pytest.mark.parametrize("method", ["convert", "getexif", "load"])
def test_a_memory_error_is_not_blamed_on_the_file(tmp_path, monkeypatch, method):
    path = saved(tmp_path / "a.tif")

    def fail(*_):
        raise MemoryError

    monkeypatch.setattr(TiffImageFile, method, fail)
    with pytest.raises(MemoryError):
        read_image(path)
