"""Pascal VOC's XML format: one file for each image, and lists of the images of each part.

    VOC2007/ImageSets/Main/trainval.txt     000005, 000007, ...       named "VOC2007/trainval"
    VOC2007/Annotations/000005.xml          size, and an object for each box
    VOC2007/JPEGImages/000005.jpg

Pixels are counted from 1 and a box includes its last pixel: the leftmost pixel alone is xmin 1,
xmax 1, which becomes x 0, width 1.

Source: Everingham et al. 2010, The Pascal Visual Object Classes Challenge,
https://doi.org/10.1007/s11263-009-0275-4.
"""

import codecs
import math
import re
from pathlib import Path
from typing import Literal
from xml.etree import ElementTree

from pydantic import Field

from quatrain.specs import DataError, Spec
from quatrain.specs.errors import shorten
from quatrain.tasks.detection.assemble import Annotations, Box, ImageEntry, assemble
from quatrain.tasks.detection.corpus import DetectionCorpus, DetectionPart
from quatrain.tasks.text import data_folder, decode_text, read_bytes, split_lines
from quatrain.tasks.vision import ImageSize
from quatrain.tasks.vision.files import check_name, check_unique, sha256
from quatrain.tasks.vision.parts import CheckedPart, read_parts

VOC_CLASSES = (
    "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow",
    "diningtable", "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train",
    "tvmonitor",
)  # fmt: skip


class VocSpec(Spec):
    """The image lists of the three parts, and the classes.

    A list is named by its folder and stem, or by its stem alone if the data folder itself has
    Annotations, ImageSets and JPEGImages.

    Example:
        >>> VocSpec(classes=("cat", "dog"), train=("trainval",), valid="test").classes
        ('cat', 'dog')
    """

    kind: Literal["voc"] = "voc"
    train: tuple[str, ...] = Field(default=("train",), min_length=1)
    """The lists of the training images."""
    valid: str = "val"
    test: str = "test"
    classes: tuple[str, ...] = Field(default=VOC_CLASSES, min_length=1)
    """Names of the classes, whose labels are 1...C in this order."""
    first_pixel: Literal[0, 1] = 1
    """The coordinate of the first pixel. With 0, xmax and ymax are the end of a box, not its last
    pixel."""
    keep_empty: bool = False
    """Whether to train on images without boxes."""

    def read(self, folder: Path | None) -> DetectionCorpus:
        """Read and check all three parts. Objects marked "difficult" become crowd.

        Raises:
            DataError: if a file is missing or damaged, an object is of no known class, or xml
                and image contradict each other.
        """
        folder = data_folder(folder, "Pascal VOC annotations")
        check_unique("classes", self.classes, "VocSpec")

        def read_part(lists: tuple[str, ...], training: bool) -> CheckedPart[DetectionPart]:
            annotations = _read_lists(self, folder, lists)
            title = annotations.source
            return assemble(annotations, title, training=training, keep_empty=self.keep_empty)

        fields = read_parts((self.train, (self.valid,), (self.test,)), read_part)
        fields["test_hashes"]["classes"] = sha256(name.encode() + b"\n" for name in self.classes)
        return DetectionCorpus(**fields, categories=self.classes)


VOC0712 = VocSpec(
    train=("VOC2007/trainval", "VOC2012/trainval"), valid="VOC2007/test", test="VOC2007/test"
)
"""VOC 2007 and 2012 as in VOCdevkit: trained on both, scored on the test part of 2007."""


def _read_lists(spec: VocSpec, folder: Path, names: tuple[str, ...]) -> Annotations:
    """The annotations of some lists, with a hash of all files that were read."""
    source = " and ".join(names)
    images: list[ImageEntry] = []
    boxes: list[Box] = []
    contents: list[bytes] = []
    for name in names:
        year, _, title = name.rpartition("/")
        home = folder / year
        path = home / "ImageSets" / "Main" / f"{title}.txt"
        content = read_bytes(path)
        contents.append(content)
        for stem in _stems(content, path, name):
            xml = home / "Annotations" / f"{stem}.xml"
            contents.append(read_bytes(xml))
            annotation = _AnnotationFile(spec, xml, contents[-1], image_id=len(images))
            images.append(annotation.image(home / "JPEGImages"))
            boxes += annotation.boxes()
    if not images:
        raise DataError(f"{source} names no images; choose another list", source)
    hashes = {f"annotations of {source}": sha256(contents)}
    return Annotations(source, hashes, images, boxes, spec.classes, spec.first_pixel)


def _stems(content: bytes, path: Path, name: str) -> list[str]:
    """The names in the list `name`; a second column says whether the image contains a class."""
    stems: list[str] = []
    for number, line in enumerate(split_lines(decode_text(content, str(path))), start=1):
        if line.strip():
            stems.append(line.split(maxsplit=1)[0])
            check_name(stems[-1], f"{path}:{number}")
    check_unique("images", stems, name)
    return stems


class _AnnotationFile:
    """One XML file, read field by field, so that an error names the file and the field."""

    def __init__(self, spec: VocSpec, path: Path, content: bytes, image_id: int) -> None:
        self.spec, self.path, self.image_id = spec, path, image_id
        self.root = _parse(content, path)

    def image(self, folder: Path) -> ImageEntry:
        name = self.root.findtext("filename") or f"{self.path.stem}.jpg"
        check_name(name.strip(), f"filename in {self.path}")
        sides = (int(self._number(self.root, f"size/{side}")) for side in ("height", "width"))
        return ImageEntry(self.image_id, folder / name.strip(), ImageSize(*sides), str(self.path))

    def boxes(self) -> list[Box]:
        objects = self.root.findall("object")
        return [self._box(entry, number) for number, entry in enumerate(objects, start=1)]

    def _box(self, entry: ElementTree.Element, number: int) -> Box:
        title = f"object {number} of {self.path}"
        name = (entry.findtext("name") or "").strip()
        if name not in self.spec.classes:
            known = ", ".join(self.spec.classes[:8])
            problem = f"{title} has the unknown class {shorten(name)}"
            raise DataError(f"{problem}; list all classes in VocSpec, which has {known}", title)
        difficult = (entry.findtext("difficult") or "").strip() or "0"
        if difficult not in {"0", "1"}:
            message = f"difficult={shorten(difficult)} of {title} is neither 0 nor 1; correct it"
            raise DataError(message, title)
        left, top, right, bottom = (self._number(entry, f"bndbox/{end}") for end in _ENDS)
        first = self.spec.first_pixel
        xywh = (left - first, top - first, right - left + first, bottom - top + first)
        return Box(
            image_id=self.image_id,
            xywh=xywh,
            label=self.spec.classes.index(name) + 1,
            crowd=difficult == "1",
            area=xywh[2] * xywh[3],
            name=title,
        )

    def _number(self, element: ElementTree.Element, field: str) -> float:
        text = element.findtext(field)
        try:
            value = float(text or "")
        except ValueError:
            value = math.nan
        if not math.isfinite(value):
            message = f"{field} in {self.path} is {shorten(text)}; correct it to a number"
            raise DataError(message, str(self.path))
        return value


def _parse(content: bytes, path: Path) -> ElementTree.Element:
    """The root element, decoded here where expat does not know the encoding."""
    declaration = _DECLARATION.match(content)
    declared = declaration[1].decode("ascii") if declaration else "utf-8"
    text = content
    if declared.lower() not in _EXPAT:
        utf_8 = content.startswith(codecs.BOM_UTF8)
        text = decode_text(content, str(path)) if utf_8 else _decode_as(declared, content, path)
    try:
        return ElementTree.fromstring(text)  # noqa: S314 - the user's own files
    except (ElementTree.ParseError, LookupError, ValueError) as error:
        if not declaration and not content.startswith(_UTF_16):
            decode_text(content, str(path))  # raises an error with the first byte not in UTF-8
        message = f"{path} is no well-formed xml ({error}); correct the file"
        raise DataError(message, str(path)) from None


def _decode_as(declared: str, content: bytes, path: Path) -> str:
    """Text in the declared encoding, or in the larger one that is often used in its name."""
    reason = ""
    for larger in (False, True):
        try:
            codec = codecs.lookup(declared).name
            return content.decode(_LARGER.get(codec, codec) if larger else codec)
        except (LookupError, ValueError) as error:
            reason = str(error)
    problem = f"{path} cannot be decoded by its encoding {declared!r} ({reason})"
    raise DataError(f"{problem}; convert the file to UTF-8, and declare UTF-8", str(path))


_DECLARATION = re.compile(
    rb"""(?:\xef\xbb\xbf)?\s*<\?xml\b[^>]*?\bencoding\s*=\s*["']([A-Za-z][\w.-]*)["']"""
)
_EXPAT = frozenset({"iso-8859-1", "us-ascii", "utf-16", "utf-8"})
_UTF_16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
_LARGER = {
    "big5": "big5hkscs",
    "euc_kr": "cp949",
    "gb2312": "gb18030",
    "gbk": "gb18030",
    "shift_jis": "cp932",
}
_ENDS = ("xmin", "ymin", "xmax", "ymax")
