import os
import struct
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from PIL.TiffImagePlugin import TiffImageFile

from quatrain.specs import DataError
from quatrain.tasks.vision.data_warnings import DataWarning, Tally
from quatrain.tasks.vision.files import sha256
from quatrain.tasks.vision.images import (
    ImageSize,
    read_image,
    require_size,
    survey,
)
from quatrain.tasks.vision.label_maps import read_plane

_TINY = bytes.fromhex(
    "89504e470d0a1a0a0000000d49484452000000010000000108000000003a7e9b55"
    "0000000a49444154789c6360000000020001 48afa4710000000049454e44ae426082".replace(" ", "")
)
PIXELS = np.random.default_rng(0).integers(0, 256, (12, 20, 3), dtype=np.uint8)


def saved(path, mode="RGB", **options):
    Image.fromarray(PIXELS).convert(mode).save(path, **options)
    return path


def problem(function, *arguments):
    with pytest.raises(DataError) as caught:
        function(*arguments)
    message = str(caught.value)
    assert "\n" not in message
    return message


@pytest.fixture
def look(tmp_path):
    """Look over one file without expecting anything to be counted."""

    def surveyed(path):
        tally = Tally()
        found = survey([path], "train", tally)
        assert tally.warn("train") == {}
        return found

    return surveyed


def test_an_image_is_read_as_channels_of_rows(tmp_path, look):
    path = saved(tmp_path / "a.png")
    assert torch.equal(read_image(path), torch.from_numpy(PIXELS).permute(2, 0, 1))
    assert look(path).sizes == [ImageSize(12, 20)]


@pytest.mark.parametrize("mode", ["L", "1", "P"])
def test_grey_and_palette_images_become_rgb(tmp_path, look, mode):
    path = saved(tmp_path / "a.png", mode)
    look(path)
    wanted = np.array(Image.fromarray(PIXELS).convert(mode).convert("RGB"))
    assert np.array_equal(read_image(path).permute(1, 2, 0).numpy(), wanted)


def test_a_cmyk_image_becomes_rgb(tmp_path, look):
    path = saved(tmp_path / "a.jpg", "CMYK", quality=95)
    look(path)
    assert read_image(path).shape == (3, 12, 20)


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_an_alpha_channel_is_left_out_and_counted(tmp_path, mode):
    pixels = np.concatenate([PIXELS, np.full((12, 20, 1), 9, np.uint8)], -1)
    path = tmp_path / "a.png"
    Image.fromarray(pixels).convert(mode).save(path)
    tally = Tally()
    survey([path], "train", tally)
    with pytest.warns(DataWarning, match=r"train: 1 images with an alpha channel.*a\.png"):
        tally.warn("train")
    wanted = np.array(Image.open(path).convert("RGB"))
    assert np.array_equal(read_image(path).permute(1, 2, 0).numpy(), wanted)
    if mode == "RGBA":
        assert np.array_equal(wanted, PIXELS)


def test_a_palette_with_alpha_is_read_without_a_word_from_the_decoder(tmp_path):
    path = tmp_path / "a.png"
    Image.fromarray(PIXELS).convert("P").save(path, transparency=bytes(range(256)))
    tally = Tally()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        survey([path], "train", tally)
        assert read_image(path).shape == (3, 12, 20)


@pytest.mark.parametrize("ending", ["png", "tif"])
def test_sixteen_bits_are_refused(tmp_path, ending):
    path = tmp_path / f"a.{ending}"
    Image.fromarray(np.arange(240, dtype=np.uint16).reshape(12, 20) * 200).save(path)
    for function, arguments in ((survey, ([path], "train", Tally())), (read_image, (path,))):
        message = problem(function, *arguments)
        assert "8 bits a channel" in message
        assert str(path) in message


def test_sixteen_bits_in_colour_are_refused(tmp_path):
    """Pillow writes none, but the depth stands in the header, which is enough to see it."""
    path = saved(tmp_path / "a.png")
    content = bytearray(path.read_bytes())
    content[24] = 16
    path.write_bytes(bytes(content))
    with pytest.raises(DataError):
        survey([path], "train", Tally())


def tiff_in_colour(path):
    """Pillow writes none of 16 bits; torch's and others' cameras do."""
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
    ("name", "write", "found"),
    [
        ("a.tif", tiff_in_colour, "16 bits a channel"),
        ("a.ppm", map_in_colour, "16 bits a channel"),
        ("a.j2k", jpeg_2000_in_colour, "in JPEG2000"),
    ],
)
def test_sixteen_bits_in_colour_are_refused_in_other_formats_too(tmp_path, name, write, found):
    path = tmp_path / name
    write(path)
    with Image.open(path) as image:
        assert image.mode == "RGB"
    for function, arguments in (
        (survey, ([path], "train", Tally())),
        (read_image, (path,)),
        (read_plane, (path,)),
    ):
        assert found in problem(function, *arguments)


def test_eight_bits_in_other_formats_are_read(tmp_path):
    for name, head in (("a.ppm", b"P6 3 2 255\n"), ("b.ppm", b"P6 3 2 100\n")):
        path = tmp_path / name
        path.write_bytes(head + bytes(range(18)))
        assert read_image(path).shape == (3, 2, 3)
    for ending in ("tif", "bmp", "webp", "gif"):
        assert read_image(saved(tmp_path / f"a.{ending}")).shape == (3, 12, 20)


@pytest.mark.parametrize("options", [{}, {"progressive": True}])
@pytest.mark.parametrize("ending", ["jpg", "png"])
def test_a_truncated_image_is_seen_without_decoding(tmp_path, ending, options):
    path = tmp_path / f"a.{ending}"
    large = np.random.default_rng(0).integers(0, 256, (200, 200, 3), dtype=np.uint8)
    Image.fromarray(large).save(path, **(options if ending == "jpg" else {}))
    path.write_bytes(path.read_bytes()[:-5000])
    for function, arguments in ((survey, ([path], "train", Tally())), (read_image, (path,))):
        assert str(path) in problem(function, *arguments)


def test_bytes_after_the_end_are_no_harm(tmp_path, look):
    path = saved(tmp_path / "a.jpg")
    path.write_bytes(path.read_bytes() + bytes(10_000))
    assert look(path).sizes == [ImageSize(12, 20)]


def test_an_image_broken_in_its_middle_is_refused_when_it_is_read(tmp_path, look):
    path = tmp_path / "a.png"
    large = np.random.default_rng(0).integers(0, 256, (200, 200, 3), dtype=np.uint8)
    Image.fromarray(large).save(path)
    content = bytearray(path.read_bytes())
    content[20_000:40_000] = bytes(20_000)
    path.write_bytes(bytes(content))
    look(path)
    assert str(path) in problem(read_image, path)


@pytest.mark.parametrize("content", [b"", b"not an image at all", b"\xff\xd8\xff\xe0\xff\xd9"])
def test_what_is_no_image_is_refused(tmp_path, content):
    path = tmp_path / "a.jpg"
    path.write_bytes(content)
    assert "an image that can be read" in problem(survey, [path], "train", Tally())
    assert "an image that can be read" in problem(read_image, path)


def test_a_file_that_went_away_is_named(tmp_path):
    assert "missing 1 of 1" in problem(survey, [tmp_path / "a.jpg"], "train", Tally())
    assert "a file that can be read" in problem(read_image, tmp_path / "a.jpg")
    assert "a file that can be read" in problem(read_image, tmp_path / "a\0.jpg")


def test_an_orientation_is_counted_and_not_used(tmp_path):
    exif = Image.Exif()
    exif[274] = 6
    path = saved(tmp_path / "a.jpg", exif=exif)
    tally = Tally()
    assert survey([path], "train", tally).sizes == [ImageSize(12, 20)]
    with pytest.warns(DataWarning, match="with an orientation"):
        tally.warn("train")
    assert read_image(path).shape == (3, 12, 20)
    message = problem(require_size, ImageSize(12, 20), ImageSize(20, 12), path, "train.json")
    assert '"20 x 12", expected 12 x 20, as train.json says: turn the pixels' in message


def test_a_wrong_size_is_refused(tmp_path):
    require_size(ImageSize(3, 4), ImageSize(3, 4), tmp_path, "train.json")
    message = problem(require_size, ImageSize(3, 4), ImageSize(3, 5), tmp_path, "train.json")
    assert '"4 x 3", expected 5 x 3' in message


def test_the_fingerprint_tells_content_names_and_order(tmp_path, look):
    first, second = saved(tmp_path / "a.png"), saved(tmp_path / "b.png", "L")

    def fingerprint(*paths):
        return survey(paths, "train", Tally()).fingerprint

    before = fingerprint(first, second)
    assert before == fingerprint(first, second)
    assert before != fingerprint(second, first)
    (tmp_path / "c.png").write_bytes(first.read_bytes())
    assert fingerprint(first) != fingerprint(tmp_path / "c.png")
    saved(first, "L")
    assert before != fingerprint(first, second)


def texture_of_another_kind(path):
    """A DDS in a pixel format that Pillow does not know: it raises NotImplementedError."""
    saved(path)
    content = bytearray(path.read_bytes())
    content[80:88] = struct.pack("<I4s", 4, b"ZZZZ")
    path.write_bytes(content)


def avif_without_its_pixels(path):
    """Pillow raises RuntimeError when it opens this."""
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
        ("a.dds", texture_of_another_kind),
        ("a.avif", avif_without_its_pixels),
        ("a.tif", tiff_without_its_pixels),
        ("a.png", palette_cut_short),
    ],
)
def test_what_a_decoder_cannot_do_is_refused_whatever_it_raises(tmp_path, name, write):
    path = tmp_path / name
    write(path)
    for function, arguments in ((read_image, (path,)), (read_plane, (path,))):
        message = problem(function, *arguments)
        assert str(path) in message
        assert "an image that can be read" in message


@pytest.mark.parametrize("name", ["a.dds", "a.avif"])
def test_formats_that_do_not_tell_their_depth_are_refused_by_name(tmp_path, name):
    path = saved(tmp_path / name)
    for function, arguments in ((survey, ([path], "train", Tally())), (read_image, (path,))):
        assert f"in {path.suffix[1:].upper()}" in problem(function, *arguments)


@pytest.mark.parametrize("raised", [OverflowError, RuntimeError("twice\nsaid"), KeyError("x")])
def test_any_error_of_a_decoder_is_one_sentence(tmp_path, monkeypatch, raised):
    path = saved(tmp_path / "a.png")

    def fail(*_):
        raise raised

    monkeypatch.setattr(Image.Image, "convert", fail)
    assert str(path) in problem(read_image, path)


def test_a_pointer_in_place_of_an_image_is_named(tmp_path):
    path = tmp_path / "a.jpg"
    path.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n")
    for function, arguments in (
        (survey, ([path], "train", Tally())),
        (read_image, (path,)),
        (read_plane, (path,)),
    ):
        message = problem(function, *arguments)
        assert message.startswith(f'{path} is "a Git LFS pointer"')
        assert "git lfs pull" in message


def test_a_name_that_is_not_utf_8_is_read_and_part_of_the_fingerprint(tmp_path, look):
    home = os.fsencode(tmp_path)
    first, second = (saved(Path(os.fsdecode(home + b"/%c.png" % byte))) for byte in (255, 254))
    assert look(first).fingerprint != look(second).fingerprint
    assert read_image(first).shape == (3, 12, 20)


def test_the_fingerprint_of_files_of_earlier_versions_is_the_same(tmp_path, look):
    path = tmp_path / "añ.png"
    path.write_bytes(_TINY)
    name, length = path.name.encode(), len(_TINY).to_bytes(8, "little")
    assert look(path).fingerprint == sha256([name, length, _TINY, _TINY])


@pytest.mark.parametrize("method", ["convert", "getexif", "load"])
def test_a_lack_of_memory_is_no_fault_of_the_file(tmp_path, monkeypatch, method):
    path = saved(tmp_path / "a.tif")

    def fail(*_):
        raise MemoryError

    monkeypatch.setattr(TiffImageFile, method, fail)
    with pytest.raises(MemoryError):
        read_image(path)
