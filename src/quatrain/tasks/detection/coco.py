"""COCO's json: images, categories and boxes of one part in one file.

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

from pydantic import BeforeValidator, ConfigDict, Field, TypeAdapter, field_validator
from pydantic_core import PydanticCustomError
from typing_extensions import TypedDict

from quatrain.specs import DataError, Spec
from quatrain.tasks.detection.assemble import ImageEntry, Listing, assemble
from quatrain.tasks.detection.boxes import Box
from quatrain.tasks.detection.corpus import DetectionCorpus, DetectionPart
from quatrain.tasks.text import read_bytes
from quatrain.tasks.vision import ImageSize
from quatrain.tasks.vision.files import (
    data_folder,
    parse_json,
    refuse_repeats,
    require_name,
    require_part,
)

_Finite = Annotated[float, Field(allow_inf_nan=False)]
_EXACT = 2**53


def _exact(value: object) -> object:
    """Refuse a number whose digits a float has lost: it may be the id of another image."""
    if isinstance(value, float) and abs(value) >= _EXACT:
        message = "an id of this size should be written as an integer, without point or exponent"
        raise PydanticCustomError("rounded_id", message)
    return value


_Id = Annotated[int, BeforeValidator(_exact)]


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
    __pydantic_config__ = ConfigDict(hide_input_in_errors=True)  # pyright: ignore[reportGeneralTypeIssues]
    images: list[_Image]
    categories: list[_Category]
    annotations: list[_Annotation]


_READER = TypeAdapter(_File)


class CocoSpec(Spec):
    """Which json and which images of a folder are the three parts.

    The defaults read a folder with annotations/instances_train.json, images/train and so on.

    Example:
        >>> COCO2017.train, COCO2017.images
        ('train2017', '{part}')
    """

    kind: Literal["coco"] = "coco"
    train: str = "train"
    valid: str = "val"
    test: str = "test"
    """What is scored at the end; where there is no such part, name the validation part again."""
    annotations: str = "annotations/instances_{part}.json"
    """The json of a part; {part} stands for its name."""
    images: str = "images/{part}"
    """The folder in which a part's images are."""
    keep_empty: bool = False
    """Train on images without boxes too."""

    @field_validator("annotations")
    @classmethod
    def _names_the_part(cls, value: str) -> str:
        require_part("CocoSpec.annotations", value)
        return value

    def read(self, folder: Path | None) -> DetectionCorpus:
        """Read and check all three parts.

        Raises:
            DataError: if a file is missing or damaged, entries contradict each other or the
                images, or the parts have different categories.
        """
        folder = data_folder(folder, "images and COCO annotations")
        reading = _Reading(self, folder)
        train = reading.part(self.train, training=True)
        valid = reading.part(self.valid, training=False)
        test = valid if self.test == self.valid else reading.part(self.test, training=False)
        ids, names = tuple(reading.categories), tuple(reading.categories.values())
        name, hashes = self.annotations.replace("{part}", self.test), reading.hashes
        tested = {each: hashes[each] for each in (name, f"images of {name}")}
        return DetectionCorpus(
            train, valid, test, names, hashes, reading.skipped, tested, category_ids=ids
        )


COCO2017 = CocoSpec(images="{part}", train="train2017", valid="val2017", test="val2017")
"""COCO 2017 as it is unpacked: train2017/, val2017/ and annotations/ in one folder."""


class _Reading:
    """What gathers while the parts are read one after the other."""

    def __init__(self, spec: CocoSpec, folder: Path) -> None:
        self.spec, self.folder = spec, folder
        self.categories: dict[int, str] = {}
        self.hashes: dict[str, str] = {}
        self.skipped: dict[str, int] = {}

    def part(self, part: str, *, training: bool) -> DetectionPart:
        name = self.spec.annotations.replace("{part}", part)
        content = read_bytes(self.folder / name)
        expected = "COCO json with images, categories and annotations"
        document = parse_json(_READER.validate_json, content, name, expected)
        found = _categories(document, name)
        self.categories = self.categories or found
        _refuse_other_categories(found, self.categories, name)
        images = self.folder / self.spec.images.replace("{part}", part)
        listing = _listing(document, found, images, name)
        assembled = assemble(listing, part, training=training, keep_empty=self.spec.keep_empty)
        self.hashes[name] = hashlib.sha256(content).hexdigest()
        self.hashes[f"images of {name}"] = assembled.fingerprint
        self.skipped |= assembled.skipped
        return assembled.part


def _categories(document: _File, name: str) -> dict[int, str]:
    """Names by id, in the order of the ids."""
    entries = document["categories"]
    refuse_repeats("category ids", (entry["id"] for entry in entries), name)
    refuse_repeats("category names", (entry["name"] for entry in entries), name)
    if not entries:
        raise DataError(f"the categories of {name}", "empty", "at least one", "mend the file")
    return {entry["id"]: entry["name"] for entry in sorted(entries, key=lambda entry: entry["id"])}


def _refuse_other_categories(found: dict[int, str], wanted: dict[int, str], name: str) -> None:
    if found != wanted:
        odd = sorted(set(found.items()) ^ set(wanted.items()))[0]
        raise DataError(
            f"the categories of {name}",
            f"different in {odd[0]} ({odd[1]})",
            "those of the training part",
            "give all parts the same categories",
        )


def _listing(document: _File, categories: dict[int, str], folder: Path, name: str) -> Listing:
    labels = {category: label for label, category in enumerate(categories, start=1)}
    for entry in document["images"]:
        require_name(entry["file_name"], f"the file name of image {entry['id']} of {name}")
    images = [
        ImageEntry(
            entry["id"],
            folder / entry["file_name"],
            ImageSize(entry["height"], entry["width"]),
            name,
        )
        for entry in document["images"]
    ]
    refuse_repeats("image ids", (entry.image_id for entry in images), name)
    known = {entry.image_id for entry in images}
    annotations = document["annotations"]
    refuse_repeats("annotation ids", (entry["id"] for entry in annotations), name)
    boxes = [_box(entry, labels, known, name) for entry in annotations]
    return Listing(name, images, boxes, tuple(categories.values()))


def _box(entry: _Annotation, labels: dict[int, int], known: set[int], name: str) -> Box:
    title = f"annotation {entry['id']} of {name}"
    if entry["category_id"] not in labels:
        raise DataError(
            f"the category of {title}",
            entry["category_id"],
            "the id of one of the categories",
            "add the category to the file or remove the annotation",
        )
    if entry["image_id"] not in known:
        raise DataError(
            f"the image of {title}",
            entry["image_id"],
            "the id of one of the images",
            "add the image to the file or remove the annotation",
        )
    x, y, width, height = entry["bbox"]
    return Box(
        image_id=entry["image_id"],
        xywh=(x, y, width, height),
        label=labels[entry["category_id"]],
        crowd=entry.get("iscrowd", False) or entry.get("ignore", False),
        area=entry.get("area", width * height),
        name=title,
    )
