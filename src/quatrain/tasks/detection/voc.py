"""Pascal VOC's xml: one file an image, and lists that say which images are which part.

    VOC2007/ImageSets/Main/trainval.txt     000005, 000007, ...       named "VOC2007/trainval"
    VOC2007/Annotations/000005.xml          size, and an object for each box
    VOC2007/JPEGImages/000005.jpg

Pixels are counted from 1 and a box includes its last: the leftmost pixel alone is xmin 1, xmax 1,
which is x 0, width 1 here.

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
from quatrain.tasks.detection.assemble import ImageEntry, Listing, assemble
from quatrain.tasks.detection.boxes import Box
from quatrain.tasks.detection.corpus import DetectionCorpus, DetectionPart
from quatrain.tasks.text import read_bytes, split_lines
from quatrain.tasks.vision import ImageSize
from quatrain.tasks.vision.files import data_folder, decode, refuse_repeats, require_name, sha256

VOC_CLASSES = (
    "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow",
    "diningtable", "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train",
    "tvmonitor",
)  # fmt: skip


class VocSpec(Spec):
    """Which lists of images are the three parts, and which classes there are.

    A list is named by its folder and its stem; the folder is left out where the data folder itself
    holds Annotations, ImageSets and JPEGImages.

    Example:
        >>> VocSpec(classes=("cat", "dog"), train=("trainval",), valid="test").classes
        ('cat', 'dog')
    """

    kind: Literal["voc"] = "voc"
    train: tuple[str, ...] = Field(default=("train",), min_length=1)
    """The lists of the training images, one after the other."""
    valid: str = "val"
    test: str = "test"
    classes: tuple[str, ...] = Field(default=VOC_CLASSES, min_length=1)
    """Names of the classes, which become the labels 1...C in this order."""
    first_pixel: Literal[0, 1] = 1
    """The number of the first pixel. With 0, xmax and ymax are where a box ends, not its last."""
    keep_empty: bool = False
    """Train on images without boxes too."""

    def read(self, folder: Path | None) -> DetectionCorpus:
        """Read and check all three parts. Objects marked "difficult" are handed on as crowd.

        Raises:
            DataError: if a file is missing or damaged, an object is of no known class, or xml
                and image contradict each other.
        """
        folder = data_folder(folder, "Pascal VOC annotations")
        refuse_repeats("classes", self.classes, "VocSpec")
        hashes: dict[str, str] = {}
        skipped: dict[str, int] = {}

        def part(names: tuple[str, ...], *, training: bool) -> DetectionPart:
            title = " and ".join(names)
            listing, content = _listing(self, folder, names)
            made = assemble(listing, title, training=training, keep_empty=self.keep_empty)
            hashes[f"annotations of {title}"] = sha256(content)
            hashes[f"images of {title}"] = made.fingerprint
            skipped.update(made.skipped)
            return made.part

        train = part(self.train, training=True)
        valid = part((self.valid,), training=False)
        test = valid if self.test == self.valid else part((self.test,), training=False)
        names = (f"annotations of {self.test}", f"images of {self.test}")
        tested = {each: hashes[each] for each in names}
        tested["classes"] = sha256(each.encode() + b"\n" for each in self.classes)
        return DetectionCorpus(train, valid, test, self.classes, hashes, skipped, tested)


VOC0712 = VocSpec(
    train=("VOC2007/trainval", "VOC2012/trainval"), valid="VOC2007/test", test="VOC2007/test"
)
"""VOC 2007 and 2012 as they lie in VOCdevkit: trained on both, scored on the test part of 2007."""


def _listing(spec: VocSpec, folder: Path, names: tuple[str, ...]) -> tuple[Listing, list[bytes]]:
    images: list[ImageEntry] = []
    boxes: list[Box] = []
    contents: list[bytes] = []
    for name in names:
        year, _, title = name.rpartition("/")
        home = folder / year
        path = home / "ImageSets" / "Main" / f"{title}.txt"
        content = read_bytes(path)
        contents.append(content)
        # Lists of one class have a second column, of which images hold it.
        for number, line in enumerate(split_lines(decode(content, path)), start=1):
            if not line.strip():
                continue
            stem = line.split()[0]
            require_name(stem, f"{path}:{number}")
            xml = home / "Annotations" / f"{stem}.xml"
            contents.append(read_bytes(xml))
            annotation = _Annotation(spec, xml, contents[-1], image_id=len(images))
            images.append(annotation.image(home / "JPEGImages"))
            boxes += annotation.boxes()
    if not images:
        raise DataError(" and ".join(names), "empty", "a list of images", "name another list")
    listing = Listing(" and ".join(names), images, boxes, spec.classes, spec.first_pixel)
    return listing, contents


class _Annotation:
    """One xml, read field by field, so that an error names the file and the field."""

    def __init__(self, spec: VocSpec, path: Path, content: bytes, image_id: int) -> None:
        self.spec, self.path, self.image_id = spec, path, image_id
        self.root = _parse(content, path)

    def image(self, folder: Path) -> ImageEntry:
        name = self.root.findtext("filename") or f"{self.path.stem}.jpg"
        require_name(name.strip(), f"filename in {self.path}")
        height, width = (int(self._number(self.root, f"size/{side}")) for side in _SIDES)
        size = ImageSize(height, width)
        return ImageEntry(self.image_id, folder / name.strip(), size, str(self.path))

    def boxes(self) -> list[Box]:
        found = self.root.findall("object")
        return [self._box(each, number) for number, each in enumerate(found, start=1)]

    def _box(self, entry: ElementTree.Element, number: int) -> Box:
        title = f"object {number} of {self.path}"
        name = (entry.findtext("name") or "").strip()
        if name not in self.spec.classes:
            raise DataError(
                f"the class of {title}",
                name,
                "one of VocSpec.classes",
                f"name all classes in the spec, which has {', '.join(self.spec.classes[:8])}",
            )
        left, top, right, bottom = (self._number(entry, f"bndbox/{end}") for end in _ENDS)
        before = self.spec.first_pixel
        xywh = (left - before, top - before, right - left + before, bottom - top + before)
        return Box(
            image_id=self.image_id,
            xywh=xywh,
            label=self.spec.classes.index(name) + 1,
            crowd=self._flag(entry, "difficult"),
            area=xywh[2] * xywh[3],
            name=title,
        )

    def _flag(self, element: ElementTree.Element, field: str) -> bool:
        text = (element.findtext(field) or "").strip() or "0"
        if text not in {"0", "1"}:
            raise DataError(f"{field} in {self.path}", text, "0 or 1", "mend the file")
        return text == "1"

    def _number(self, element: ElementTree.Element, field: str) -> float:
        text = element.findtext(field)
        try:
            value = float(text or "")
        except ValueError:
            value = math.nan
        if not math.isfinite(value):
            raise DataError(f"{field} in {self.path}", text, "a number", "mend the file")
        return value


def _parse(content: bytes, path: Path) -> ElementTree.Element:
    """The root element; of the encodings in use, expat itself reads only those of `_EXPAT`.

    Raises:
        DataError: if the file is not well-formed, or not of the encoding that it declares.
    """
    declaration = _DECLARATION.match(content)
    declared = declaration[1].decode("ascii") if declaration else "utf-8"
    text = content
    if declared.lower() not in _EXPAT:
        marked = content.startswith(codecs.BOM_UTF8)
        text = decode(content, path) if marked else _decode_as(declared, content, path)
    try:
        return ElementTree.fromstring(text)  # noqa: S314 - the user's own files
    except (ElementTree.ParseError, LookupError, ValueError) as error:
        if not declaration and not content.startswith(_UTF_16):
            decode(content, path)  # says which byte is not UTF-8
        raise DataError(str(path), str(error), "well-formed xml", "mend the file") from None


def _decode_as(declared: str, content: bytes, path: Path) -> str:
    """Text of the encoding that the xml declares, or of the larger one that writers take for it."""
    reason = ""
    for larger in (False, True):
        try:
            codec = codecs.lookup(declared).name
            return content.decode(_LARGER.get(codec, codec) if larger else codec)
        except (LookupError, ValueError) as error:
            reason = str(error)
    expected = f"an encoding that can be read, and text in it ({reason})"
    remedy = "convert the file to UTF-8, and declare that"
    raise DataError(f"the encoding of {path}", declared, expected, remedy)


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
_SIDES = ("height", "width")
_ENDS = ("xmin", "ymin", "xmax", "ymax")
