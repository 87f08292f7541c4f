"""Small files whose content is huge once it is read, for each reader.

    BOMBS["coco"]["deep"](path)         # writes the file

A reader refuses them or reads them, within the time and memory of `fuzz.campaign`.
"""

import io
import json
import os
import struct
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import torch

Bomb = Callable[[Path], object]

MILLION = 10**6
_LAUGHS = "".join(f'<!ENTITY e{n} "{f"&e{n - 1};" * 10}">' for n in range(1, 12))


def _text(content: str | bytes, times: int = 1) -> Bomb:
    """A text, repeated."""
    data = content.encode() if isinstance(content, str) else content
    return lambda path: path.write_bytes(data * times)


def _deep(start: str = "[", end: str = "]") -> Bomb:
    return lambda path: path.write_text(start * MILLION + end * MILLION)


def _sparse(size: int) -> Bomb:
    """Zeros that take no space on the disk."""

    def write(path: Path) -> None:
        path.unlink(missing_ok=True)
        with path.open("wb") as file:
            os.truncate(file.fileno(), size)

    return write


def _safetensors(header: str, body: int = 0) -> Bomb:
    """A header, and zeros that take no space on the disk."""
    content = struct.pack("<Q", len(header)) + header.encode()

    def write(path: Path) -> None:
        path.write_bytes(content)
        os.truncate(path, len(content) + body)

    return write


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def _png(width: int, height: int, depth: int, color: int, *extra: bytes) -> Bomb:
    """A PNG of zeros."""
    channels = {0: 1, 2: 3, 3: 1, 6: 4}[color]
    row = bytes(1 + (width * depth * channels + 7) // 8)
    packer = zlib.compressobj(1)

    def write(path: Path) -> None:
        size = row * min(height, max(1, 2**22 // len(row)))
        pixels = b"".join(packer.compress(size) for _ in range(height * len(row) // len(size) + 1))
        head = struct.pack(">IIBBBBB", width, height, depth, color, 0, 0, 0)
        palette = [_chunk(b"PLTE", bytes(9))] if color == 3 else []
        chunks = [_chunk(b"IHDR", head), *palette, *extra, _chunk(b"IDAT", pixels + packer.flush())]
        path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join([*chunks, _chunk(b"IEND", b"")]))

    return write


def _packed(chunk: bytes, name: bytes) -> bytes:
    """A chunk of metadata with a gigabyte of zeros."""
    packer = zlib.compressobj(9)
    block = bytes(2**24)
    data = b"".join(packer.compress(block) for _ in range(64)) + packer.flush()
    return _chunk(chunk, name + b"\0\0" + data)


def _archive(name: str, part: bytes, times: int, others: object) -> Bomb:
    """A compressed file of torch.save in which a record is a part, repeated."""

    def write(path: Path) -> None:
        output = io.BytesIO()
        torch.save(others, output)
        with zipfile.ZipFile(output) as source, zipfile.ZipFile(path, "w") as archive:
            for entry in source.namelist():
                data = part * times if entry.endswith(name) else source.read(entry)
                archive.writestr(entry, data, zipfile.ZIP_DEFLATED, 1)

    return write


def _saved(content: object, *, zipped: bool = True) -> Bomb:
    return lambda path: torch.save(content, path, _use_new_zipfile_serialization=zipped)


def _legacy(pickled: bytes) -> Bomb:
    """A file of the format before torch 1.6 with this pickle in the place of its content."""

    def write(path: Path) -> None:
        torch.save({}, path, _use_new_zipfile_serialization=False)
        path.write_bytes(path.read_bytes().replace(b"}q\x00.", pickled))

    return write


def _coco(path: Path) -> None:
    document = json.loads(path.read_text())
    head = json.dumps({**document, "annotations": []}).removesuffix("]}")
    boxes = (
        f'{{"id": {n}, "image_id": {7 + n % 2}, "category_id": 3, "bbox": [1, 1, {1 + n % 9}, 3]}}'
        for n in range(MILLION)
    )
    path.write_text(head + ", ".join(boxes) + "]}")


def _entities(path: Path) -> None:
    text = path.read_text().replace("?>", f'?><!DOCTYPE a [<!ENTITY e0 "lol">{_LAUGHS}]>', 1)
    path.write_text(text.replace("<name>", "<name>&e11;", 1))


def _long_entity(path: Path) -> None:
    entity = f'<!DOCTYPE a [<!ENTITY a "{"a" * MILLION}">]>'
    text = path.read_text().replace("?>", f"?>{entity}", 1)
    path.write_text(text.replace("<name>", "<name>" + "&a;" * MILLION, 1))


def _in_xml(text: str, times: int = 1) -> Bomb:
    return lambda path: path.write_text(
        path.read_text().replace("</annotation>", text * times + "</annotation>")
    )


def _members(names: str, number: int = 300_000) -> Bomb:
    """A JSON file in which the object of this name has many members."""

    def write(path: Path) -> None:
        members = ", ".join(f'"name{n}": 1' for n in range(number))
        text = path.read_text()
        place = text.index(f'"{names}": {{') + len(names) + 5
        path.write_text(f"{text[:place]}{members}, {text[place:]}")

    return write


def _field(name: str, value: object) -> Bomb:
    """A JSON file in which each field of this name has another value."""

    def change(item: object) -> object:
        if isinstance(item, dict):
            return {key: value if key == name else change(x) for key, x in item.items()}
        return [change(each) for each in item] if isinstance(item, list) else item

    return lambda path: path.write_text(json.dumps(change(json.loads(path.read_text()))))


_HUGE = 2**34
_JSON = {"deep list": _deep(), "deep object": _deep('{"a":', "}"), "sparse": _sparse(_HUGE)}
_HEADER = '{"a": {"dtype": "F32", "shape": [%s], "data_offsets": [0, %s]}}'
_ENTRIES = ", ".join(
    f'"a{n}": {{"dtype": "F32", "shape": [], "data_offsets": [{4 * n}, {4 * n + 4}]}}'
    for n in range(100_000)
)
_TENSORS = {
    "length": _text(b"\xff" * 8 + b"{}"),
    "shape": _safetensors(_HEADER % (2**40, 2**42)),
    "product": _safetensors(_HEADER % (f"{2**32}, {2**32}", 0)),
    "many": _safetensors(f"{{{_ENTRIES}}}", 400_000),
    "deep": _safetensors("[" * MILLION),
    "sparse": _safetensors(_HEADER % (_HUGE // 4, _HUGE), _HUGE),
}
_LISTS = {"sparse": _sparse(_HUGE), "long line": _text("a", 10**8)}
_NESTED = b"]" + b"]" * MILLION + b"a" * MILLION + b"."
_PICKLES = {
    "compressed": _archive("data/0", bytes(2**20), 2**8, {"a": torch.zeros(2)}),
    "pickle": _archive("data.pkl", b"N0" * 2**20, 2**7, {"a": torch.zeros(2)}),
    "nested": _legacy(_NESTED),
    "repeated": _saved({"a": torch.zeros(1).expand(2**40)}),
    "sparse": _sparse(_HUGE),
}

BOMBS: dict[str, dict[str, Bomb]] = {
    "record": {**_JSON, "metrics": _members("metrics")},
    "manifest": {
        **_JSON,
        "identities": _field("identities", {str(n): f"{n:016x}" for n in range(2_000)}),
    },
    "failure": _JSON,
    "measurement": {**_JSON, "versions": _field("versions", {str(n): "1" for n in range(300_000)})},
    "sessions": _JSON,
    "jobs": _JSON,
    "spec": _JSON,
    "log": {
        "sparse": _sparse(_HUGE),
        "lines": _text('{"step": 1, "loss": 0.5}\n', 200_000),
        "deep": _deep(),
    },
    "written steps": _JSON,
    "checkpoint": _TENSORS,
    "model": {"sparse": _TENSORS["sparse"]},
    "translator": {"layers": _field("layers", 10**9), "width": _field("width", 2**40)},
    "vocabulary": _JSON,
    "image scores": _TENSORS,
    "hypotheses": {"lines": _text("a\n", MILLION), **_LISTS},
    "image": {
        "pixels": _png(2**16, 2**16, 1, 0),
        "largest": _png(13_000, 13_000, 8, 2),
        "text": _png(9, 9, 8, 2, _packed(b"zTXt", b"a")),
        "profile": _png(9, 9, 8, 2, _packed(b"iCCP", b"a")),
        "ppm": _text(b"P6 60000 60000 255\n"),
        "sparse": _sparse(_HUGE),
    },
    "label map": {"largest": _png(13_000, 13_000, 8, 3)},
    "classes": {**_JSON, "ignored": _field("ignore_index", list(range(100_000)))},
    "label list": {**_LISTS, "lines": _text("a.png a_L.png\n", 20_000)},
    "coco": {**_JSON, "annotations": _coco},
    "voc": {
        "entities": _entities,
        "long entity": _long_entity,
        "deep": _in_xml("<a>" * MILLION + "</a>" * MILLION),
        "objects": _in_xml(
            "<object><name>dog</name><bndbox><xmin>1</xmin><ymin>3</ymin><xmax>9</xmax>"
            "<ymax>9</ymax></bndbox></object>",
            50_000,
        ),
        "attributes": _in_xml("<a " + " ".join(f'a{n}="1"' for n in range(50_000)) + "/>"),
        "text": _in_xml("a", 10**7),
        "sparse": _sparse(_HUGE),
    },
    "voc list": {**_LISTS, "lines": _text("0\n", MILLION)},
    "parallel text": {**_LISTS, "lines": _text("ein Hund\n", MILLION)},
    "torch file": _PICKLES,
    "pretrained": {"compressed": _PICKLES["compressed"]},
    "pretrained tensors": {name: _TENSORS[name] for name in ("length", "shape", "many")},
    "sidecar": {**_JSON, "layers": _field("layers", 10**9), "width": _field("width", 2**40)},
    "folder tensors": {"sparse": _TENSORS["sparse"]},
    "mmdetection settings": {
        "brackets": _text("mean=[", 200_000),
        "quotes": _text("mean='", 200_000),
        "spaces": _text("mean" + " " * 1000, 1000),
        "names": _text("scales=" + "a" * 1000, 1000),
    },
}
