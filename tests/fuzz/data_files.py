"""Readers of data: images, label maps, annotations, classes, lists and parallel text."""

import io
import json
from pathlib import Path

import numpy as np
from PIL import Image

from fuzz.case import Case, Reader
from fuzz.formats import mutate_lines, mutate_png, mutate_xml
from fuzz.mutators import choose, mutate_bytes, mutate_json
from quatrain.specs import DataError
from quatrain.tasks.detection import CocoSpec, VocSpec
from quatrain.tasks.segmentation import FoldersSpec
from quatrain.tasks.segmentation.assemble import read_label
from quatrain.tasks.segmentation.classes import parse_classes
from quatrain.tasks.text import read_bytes
from quatrain.tasks.translation import ParallelTextSpec
from quatrain.tasks.vision import DataWarnings, read_image, scan_images

_SIDES = (12, 20)
_LARGE = 10**6
"""Bytes of a file that is read once, and not for each part of a data set."""
_PIXELS = np.random.default_rng(0).integers(0, 256, (*_SIDES, 3), dtype=np.uint8)
_LABELS = (np.arange(240, dtype=np.uint8) % 3).reshape(_SIDES)
_CLASSES = {
    "classes": [
        {"id": number, "name": name, "color": [number, 40, 50]}
        for number, name in enumerate(("sky", "road", "car"))
    ],
    "ignore_index": 255,
    "ignore_color": [9, 9, 9],
}
_JSON = choose((6, mutate_json), (1, mutate_bytes))
_LIST = choose((3, mutate_lines), (1, mutate_bytes))


def _encoded(pixels: np.ndarray, mode: str, kind: str, **options: object) -> bytes:
    output = io.BytesIO()
    Image.fromarray(pixels).convert(mode).save(output, kind, **options)
    return output.getvalue()


def _image(folder: Path) -> Case:
    path = folder / "a.png"
    examples = [_encoded(_PIXELS, mode, "PNG") for mode in ("RGB", "L", "P", "1", "RGBA")]
    examples += [_encoded(_PIXELS, "RGB", kind) for kind in ("JPEG", "BMP", "GIF", "WEBP", "PPM")]
    examples += [_encoded(_PIXELS, "RGB", "TIFF", compression=kind) for kind in (None, "tiff_lzw")]
    examples.append(_encoded(_PIXELS, "RGB", "JPEG", progressive=True, exif=b"Exif\0\0MM\0*\0\0"))

    def read() -> None:
        scan_images([path], "train", DataWarnings())
        read_image(path)

    return Case(path, tuple(examples), read)


def _other_image(folder: Path) -> Case:
    """Formats that Pillow reads and the library does not, under the name of one that it does."""
    case = _image(folder)
    Image.init()
    modes = {"DDS": "RGB", "EPS": "L", "ICO": "RGB", "PCX": "L", "SGI": "L", "TGA": "RGB"}
    modes |= {"JPEG2000": "RGB", "AVIF": "RGB", "IM": "L", "QOI": "RGB", "MSP": "1", "SPIDER": "F"}
    contents = [_encoded(_PIXELS, modes[kind], kind) for kind in modes if kind in Image.SAVE]
    labels = _label_map(folder)

    def read() -> None:
        try:
            case.read()
        except DataError:
            labels.read()
            raise

    return Case(case.path, case.examples[:2], read, tuple(contents))


def _label_map(folder: Path) -> Case:
    path = folder / "a.png"
    classes = parse_classes(json.dumps(_CLASSES).encode(), "classes.json")
    palette = Image.fromarray(_LABELS)
    palette.putpalette([0, 40, 50, 1, 40, 50, 2, 40, 50])
    output = io.BytesIO()
    palette.save(output, "PNG", bits=2)
    colours = np.stack([_LABELS, 0 * _LABELS + 40, 0 * _LABELS + 50], -1)
    examples = [output.getvalue(), _encoded(_LABELS, "L", "PNG"), _encoded(colours, "RGB", "PNG")]
    examples += [_encoded(_LABELS, "L", kind) for kind in ("TIFF", "BMP", "GIF", "PPM")]
    sixteen = io.BytesIO()
    Image.fromarray(_LABELS.astype(np.uint16)).save(sixteen, "PNG")
    examples.append(sixteen.getvalue())
    return Case(path, tuple(examples), lambda: read_label(path, classes))


def _classes(folder: Path) -> Case:
    path = folder / "classes.json"
    examples = [_CLASSES, {**_CLASSES, "ignore_index": [255, 254]}]
    examples = [json.dumps(each).encode() for each in examples]
    return Case(path, tuple(examples), lambda: parse_classes(read_bytes(path), path.name))


def _label_list(folder: Path) -> Case:
    for name in ("a.png", "b.png", "a_L.png", "b_L.png"):
        pixels = _LABELS if "_L" in name else _PIXELS
        (folder / name).write_bytes(_encoded(pixels, "L" if "_L" in name else "RGB", "PNG"))
    (folder / "classes.json").write_text(json.dumps(_CLASSES))
    spec = FoldersSpec(train="train", valid="train", test="train")
    return Case(
        folder / "train.txt", (b"a.png a_L.png\nb.png b_L.png\n",), lambda: spec.read(folder)
    )


def _coco(folder: Path) -> Case:
    (folder / "annotations").mkdir()
    (folder / "images" / "train").mkdir(parents=True)
    for name in ("0.png", "1.png"):
        (folder / "images" / "train" / name).write_bytes(_encoded(_PIXELS, "RGB", "PNG"))
    height, width = _SIDES
    boxes = ((1, 7, 18, [2.25, 3, 10, 8]), (2, 8, 3, [0, 0, 20, 12]), (3, 7, 3, [1, 1, 5, 5]))
    document = {
        "images": [
            {"id": 7 + n, "file_name": f"{n}.png", "width": width, "height": height} for n in (0, 1)
        ],
        "categories": [{"id": 18, "name": "dog"}, {"id": 3, "name": "car"}],
        "annotations": [
            {"id": a, "image_id": i, "category_id": c, "bbox": box, "area": 9.5, "iscrowd": 0}
            for a, i, c, box in boxes
        ],
    }
    path = folder / "annotations" / "instances_train.json"
    example = json.dumps(document).encode()
    (folder / "annotations" / "instances_val.json").write_bytes(example)
    (folder / "images" / "val").symlink_to("train")

    def read() -> None:
        CocoSpec(valid="val", test="val").read(folder)
        if path.stat().st_size < _LARGE:
            CocoSpec(valid="train", test="train").read(folder)

    return Case(path, (example,), read)


_VOC = """<?xml version="1.0" encoding="utf-8"?>
<annotation><filename>0.png</filename>
<size><width>20</width><height>12</height><depth>3</depth></size>
<object><name>dog</name><difficult>0</difficult>
<bndbox><xmin>1</xmin><ymin>3</ymin><xmax>20</xmax><ymax>12</ymax></bndbox></object>
<object><name>cat</name><difficult>1</difficult>
<bndbox><xmin>5.5</xmin><ymin>6</ymin><xmax>7</xmax><ymax>8</ymax></bndbox></object>
</annotation>"""


def _voc_folder(folder: Path) -> VocSpec:
    for name in ("Annotations", "ImageSets/Main", "JPEGImages"):
        (folder / name).mkdir(parents=True)
    (folder / "JPEGImages/0.png").write_bytes(_encoded(_PIXELS, "RGB", "PNG"))
    (folder / "Annotations/0.xml").write_text(_VOC)
    (folder / "ImageSets/Main/train.txt").write_text("0\n")
    return VocSpec(classes=("cat", "dog"), train=("train",), valid="train", test="train")


def _voc(folder: Path) -> Case:
    spec = _voc_folder(folder)
    gbk = _VOC.replace("utf-8", "gbk").encode("gbk")
    return Case(folder / "Annotations/0.xml", (_VOC.encode(), gbk), lambda: spec.read(folder))


def _voc_list(folder: Path) -> Case:
    spec = _voc_folder(folder)
    path = folder / "ImageSets/Main/train.txt"
    return Case(path, (b"0\n", b"0  1\n"), lambda: spec.read(folder))


def _parallel_text(folder: Path) -> Case:
    lines = {"en": "A dog.\nTwo dogs run.\nA cat sleeps.\n", "de": "Ein Hund.\nZwei Hunde.\nJa.\n"}
    for part in ("train", "valid", "test"):
        for language, text in lines.items():
            (folder / f"{part}.{language}").write_text(text)
    spec = ParallelTextSpec(valid="train", test="train")
    examples = (lines["de"].encode(), "Übermäßig\n日本\nя\n".encode())
    return Case(folder / "train.de", examples, lambda: spec.read(folder))


DATA_FILES = {
    "image": Reader(_image, choose((2, mutate_png), (3, mutate_bytes))),
    "other image": Reader(_other_image, mutate_bytes),
    "label map": Reader(_label_map, choose((1, mutate_png), (1, mutate_bytes))),
    "classes": Reader(_classes, _JSON),
    "label list": Reader(_label_list, _LIST),
    "coco": Reader(_coco, _JSON),
    "voc": Reader(_voc, choose((4, mutate_xml), (1, mutate_bytes))),
    "voc list": Reader(_voc_list, _LIST),
    "parallel text": Reader(_parallel_text, _LIST),
}
