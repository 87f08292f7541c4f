import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from quatrain.specs import DataError
from quatrain.tasks.vision.images import read_image
from quatrain.tasks.vision.label_maps import read_label_map


def refusal(path):
    """The message of the error about a label map."""
    with pytest.raises(DataError) as error:
        read_label_map(path)
    assert error.value.field == str(path)
    return str(error.value)


def test_values_are_read_as_stored(tmp_path):
    path = tmp_path / "a.png"
    indices = Image.fromarray(np.array([[0, 1], [254, 255]], np.uint8), "P")
    indices.putpalette(bytes(768))
    indices.save(path)
    mode, values = read_label_map(path)
    assert mode == "P"
    assert values.tolist() == [[0, 1], [254, 255]]
    Image.fromarray(np.array([[7, 300]], np.uint16)).save(path)
    assert read_label_map(path)[1].tolist() == [[7, 300]]
    path.write_bytes(path.read_bytes()[:40])
    refusal(path)


def grey_png(path, bits, rows):
    """Write a grey PNG of a bit depth that Pillow does not write."""

    def chunk(kind, content):
        check = struct.pack(">I", zlib.crc32(kind + content))
        return struct.pack(">I", len(content)) + kind + content + check

    packed = b"".join(
        b"\0" + np.packbits(np.unpackbits(row[:, None], axis=1)[:, -bits:].ravel()).tobytes()
        for row in np.array(rows, np.uint8)
    )
    header = struct.pack(">IIBBBBB", len(rows[0]), len(rows), bits, 0, 0, 0, 0)
    content = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(packed)) + chunk(b"IEND", b"")
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + content)


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
def test_grey_png_of_few_bits_keeps_its_values(bits, tmp_path):
    path, rows = tmp_path / "a.png", [[0, 1, 2**bits - 1], [1, 0, 2**bits - 2]]
    grey_png(path, bits, rows)
    assert read_label_map(path)[1].tolist() == rows
    assert read_image(path).max() == 255


@pytest.mark.parametrize("largest", [1, 3, 19, 254, 255, 300, 65535])
@pytest.mark.parametrize("plain", [True, False])
def test_pgm_of_any_maximum_keeps_its_values(largest, plain, tmp_path):
    path, values = tmp_path / "a.pgm", [0, 1, largest - 1, largest]
    raw = np.array(values, ">u2" if largest > 255 else "u1").tobytes()
    kind, content = (b"P2", " ".join(map(str, values)).encode()) if plain else (b"P5", raw)
    path.write_bytes(kind + f"\n4 1\n{largest}\n".encode() + content + b"\n")
    assert read_label_map(path)[1].tolist() == [values]


@pytest.mark.parametrize(
    ("name", "options"),
    [("a.jpg", {}), ("a.webp", {"lossless": True}), ("a.tif", {"compression": "jpeg"})],
)
def test_lossy_formats_are_refused(name, options, tmp_path):
    Image.fromarray(np.arange(64, dtype=np.uint8).reshape(8, 8)).save(tmp_path / name, **options)
    assert "which is lossy" in refusal(tmp_path / name)


def test_grey_that_pillow_misreads_is_refused(tmp_path):
    path = tmp_path / "a.tif"
    Image.fromarray(np.zeros((2, 2), np.uint8)).save(path, tiffinfo={262: 0})
    assert "grey with white as 0" in refusal(path)
    path = tmp_path / "a.bmp"
    palette = b"".join(bytes([level, level, level, 0]) for level in range(16))
    head = struct.pack("<IiiHHIIiiII", 40, 8, 1, 1, 4, 0, 4, 0, 0, 16, 0)
    offset = 14 + len(head) + len(palette)
    whole = b"BM" + struct.pack("<IHHI", offset + 4, 0, 0, offset) + head + palette + bytes(4)
    path.write_bytes(whole)
    assert "grey of 4 bits in BMP" in refusal(path)
