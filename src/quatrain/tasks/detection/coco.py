"""COCO's JSON format: images, categories and boxes of one part in one file.

    {"images":      [{"id": 7, "file_name": "a.jpg", "width": 640, "height": 480}],
     "categories":  [{"id": 18, "name": "dog"}],
     "annotations": [{"id": 1, "image_id": 7, "category_id": 18, "bbox": [x, y, w, h],
                      "area": 512.5, "iscrowd": 0}]}

Source: Lin et al. 2014, Microsoft COCO, https://arxiv.org/abs/1405.0312, and its data format,
https://cocodataset.org/#format-data.
"""

import hashlib
from pathlib import Path
from typing import Annotated, Literal, NotRequired

from pydantic import BeforeValidator, Field, TypeAdapter, field_validator
from pydantic_core import PydanticCustomError
from typing_extensions import TypedDict

from quatrain.specs import DataError, Spec
from quatrain.tasks.detection.assemble import Annotations, Box, ImageEntry, assemble
from quatrain.tasks.detection.corpus import DetectionCorpus, DetectionPart
from quatrain.tasks.text import data_folder, read_bytes
from quatrain.tasks.vision import ImageSize
from quatrain.tasks.vision.files import check_name, check_pattern, check_unique, parse_json
from quatrain.tasks.vision.parts import CheckedPart, read_parts

_Finite = Annotated[float, Field(allow_inf_nan=False)]
_EXACT_IN_FLOAT = 2**53


def _check_exact(value: object) -> object:
    """Refuse an id that was rounded as a float, since it may be the id of another image."""
    if isinstance(value, float) and abs(value) >= _EXACT_IN_FLOAT:
        message = "an id of this size must be an integer without point or exponent"
        raise PydanticCustomError("rounded_id", message)
    return value


_Id = Annotated[int, BeforeValidator(_check_exact)]


class _Image(TypedDict):
    id: _Id
    file_name: Annotated[str, Field(min_length=1)]
    width: Annotated[int, Field(ge=1)]
    height: Annotated[int, Field(ge=1)]


class _Category(TypedDict):
    id: _Id
    name: str


class _Annotation(TypedDict):
    id: _Id
    image_id: _Id
    category_id: _Id
    bbox: tuple[_Finite, _Finite, _Finite, _Finite]
    area: NotRequired[Annotated[_Finite, Field(ge=0)]]
    iscrowd: NotRequired[bool]
    ignore: NotRequired[bool]


class _File(TypedDict):
    images: list[_Image]
    categories: list[_Category]
    annotations: list[_Annotation]


_FILE = TypeAdapter(_File)


class CocoSpec(Spec):
    """The annotation files and image folders of the three parts, relative to the data folder.

    The defaults read annotations/instances_train.json, images/train and so on.

    Example:
        >>> COCO2017.train, COCO2017.images
        ('train2017', '{part}')
    """

    kind: Literal["coco"] = "coco"
    train: str = "train"
    valid: str = "val"
    test: str = "test"
    """The part of the final scores; without a test part, repeat the validation part."""
    annotations: str = "annotations/instances_{part}.json"
    """The annotation file of a part; {part} is replaced by its name."""
    images: str = "images/{part}"
    """The folder of a part's images."""
    keep_empty: bool = False
    """Whether to train on images without boxes."""

    @field_validator("annotations")
    @classmethod
    def _names_the_part(cls, value: str) -> str:
        check_pattern(value, "CocoSpec.annotations")
        return value

    def read(self, folder: Path | None) -> DetectionCorpus:
        """Read and check all three parts.

        Raises:
            DataError: if a file is missing or damaged, entries contradict each other or the
                images, or the parts have different categories.
        """
        folder = data_folder(folder, "images and COCO annotations")
        categories: dict[int, str] = {}

        def read_part(part: str, training: bool) -> CheckedPart[DetectionPart]:
            name = self.annotations.replace("{part}", part)
            content = read_bytes(folder / name)
            expected = "COCO json with images, categories and annotations"
            document = parse_json(_FILE.validate_json, content, name, expected)
            _check_categories(document, categories, name)
            hashes = {name: hashlib.sha256(content).hexdigest()}
            images = folder / self.images.replace("{part}", part)
            annotations = _annotations(document, categories, images, name, hashes)
            return assemble(annotations, part, training=training, keep_empty=self.keep_empty)

        fields = read_parts((self.train, self.valid, self.test), read_part)
        ids, names = tuple(categories), tuple(categories.values())
        return DetectionCorpus(**fields, categories=names, category_ids=ids)


COCO2017 = CocoSpec(images="{part}", train="train2017", valid="val2017", test="val2017")
"""COCO 2017 as unpacked: train2017/, val2017/ and annotations/ in one folder."""


def _check_categories(document: _File, categories: dict[int, str], name: str) -> None:
    """Fill `categories`, names by id in the order of ids, or check that they are the same."""
    entries = document["categories"]
    check_unique("category ids", (entry["id"] for entry in entries), name)
    check_unique("category names", (entry["name"] for entry in entries), name)
    if not entries:
        raise DataError(f"{name} has no categories; add them to the file", name)
    by_id = {entry["id"]: entry["name"] for entry in sorted(entries, key=lambda entry: entry["id"])}
    if not categories:
        categories.update(by_id)
    if by_id != categories:
        odd_id, odd_name = sorted(by_id.items() ^ categories.items())[0]
        problem = f"the categories of {name} and of the training part differ in {odd_id}"
        raise DataError(f"{problem} ({odd_name}); give all parts the same categories", name)


def _annotations(
    document: _File,
    categories: dict[int, str],
    folder: Path,
    name: str,
    hashes: dict[str, str],
) -> Annotations:
    labels = {category: label for label, category in enumerate(categories, start=1)}
    for entry in document["images"]:
        check_name(entry["file_name"], f"the file name of image {entry['id']} of {name}")
    images = [
        ImageEntry(
            entry["id"],
            folder / entry["file_name"],
            ImageSize(entry["height"], entry["width"]),
            name,
        )
        for entry in document["images"]
    ]
    check_unique("image ids", (entry.image_id for entry in images), name)
    image_ids = {entry.image_id for entry in images}
    entries = document["annotations"]
    check_unique("annotation ids", (entry["id"] for entry in entries), name)
    boxes = [_box(entry, labels, image_ids, name) for entry in entries]
    return Annotations(name, hashes, images, boxes, tuple(categories.values()))


def _box(entry: _Annotation, labels: dict[int, int], image_ids: set[int], name: str) -> Box:
    title = f"annotation {entry['id']} of {name}"
    for field, known in (("category_id", labels), ("image_id", image_ids)):
        if entry[field] not in known:
            problem = f"{title} has the unknown {field} {entry[field]}"
            raise DataError(f"{problem}; add that entry or remove the annotation", name)
    x, y, width, height = entry["bbox"]
    return Box(
        image_id=entry["image_id"],
        xywh=(x, y, width, height),
        label=labels[entry["category_id"]],
        crowd=entry.get("iscrowd", False) or entry.get("ignore", False),
        area=entry.get("area", width * height),
        name=title,
    )
