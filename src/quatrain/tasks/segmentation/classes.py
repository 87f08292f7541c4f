"""The file of classes: names, values, colours, and the values and colours to ignore.

    {"classes": [{"id": 0, "name": "sky", "color": [128, 128, 128]}, ...],
     "ignore_index": 255,            the value, or a list of values, of ignored pixels
     "ignore_color": [0, 0, 0]}      their colour in colour labels

The last two are optional: by default 255 is ignored and no colour is. An empty list ignores no
value, as for masks of 0 and 255. Other fields are not read. `Classes.indices` converts the values
or colours of a label file to 0...C-1 and 255.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, NotRequired

import numpy as np
from jaxtyping import Int64
from pydantic import Field, TypeAdapter
from typing_extensions import TypedDict

from quatrain.specs import DataError
from quatrain.tasks.segmentation.corpus import IGNORE, SegmentationClass
from quatrain.tasks.vision.files import check_unique, parse_json

_Channel = Annotated[int, Field(ge=0, le=255)]
_Color = tuple[_Channel, _Channel, _Channel]
_Value = Annotated[int, Field(ge=0, le=IGNORE)]


class _Class(TypedDict):
    id: _Value
    name: Annotated[str, Field(min_length=1)]
    color: _Color


class _File(TypedDict):
    classes: Annotated[list[_Class], Field(min_length=1, max_length=IGNORE)]
    ignore_index: NotRequired[_Value | list[_Value]]
    ignore_color: NotRequired[_Color]


_FILE = TypeAdapter(_File)
_UNKNOWN = -1
_PIXELS = 2**20
"""Pixels that are converted at a time, which takes up to 100 bytes for each."""


@dataclass(frozen=True)
class Classes:
    """The classes, and the mapping of stored values and colours to a class index or IGNORE."""

    entries: tuple[SegmentationClass, ...]
    values: dict[int, int]
    colors: dict[tuple[int, int, int], int]

    @property
    def ignored(self) -> str:
        """The ignored values and colours as text: "value 255"."""
        values = [str(value) for value, index in self.values.items() if index == IGNORE]
        colors = [str(color) for color, index in self.colors.items() if index == IGNORE]
        more = ", ..." if len(values) > 8 else ""
        texts = [f"value {', '.join(values[:8])}{more}"] if values else []
        return " or ".join(texts + [f"colour {color}" for color in colors])

    def indices(self, mode: str, stored: np.ndarray, name: str) -> Int64[np.ndarray, "h w"]:
        """Convert stored values or colours to classes 0...C-1 and IGNORE.

        Grey and palette images have values, RGB images have colours; `mode` is Pillow's mode of
        the image, and `name` its file.
        """
        if mode != "RGB" and mode not in {"L", "P", "1"} and not mode.startswith("I"):
            problem = f"label {name} is of mode {mode}"
            raise DataError(f"{problem}; convert it to grey, a palette or RGB, without alpha", name)
        convert, kind, known = self._by_value, "value", sorted(self.values)
        if mode == "RGB":
            convert, kind, known = self._by_color, "colour", list(self.colors)
        indices = np.empty(stored.shape[:2], np.int64)
        rows = max(1, _PIXELS // max(1, stored.shape[1]))
        for start in range(0, len(stored), rows):
            indices[start : start + rows] = convert(stored[start : start + rows].astype(np.int64))
        _check_known(indices, stored, name, kind, known)
        return indices

    def _by_value(self, stored: np.ndarray) -> np.ndarray:
        table = np.full(IGNORE + 2, _UNKNOWN)
        for value, index in self.values.items():
            table[value] = index
        # Values beyond the table, of 16-bit files, use its last entry, which is unknown.
        return table[np.where((stored < 0) | (stored > IGNORE), IGNORE + 1, stored)]

    def _by_color(self, stored: np.ndarray) -> np.ndarray:
        packed = _packed(stored)
        keys = _packed(np.array(list(self.colors), dtype=np.int64))
        order = np.argsort(keys)
        classes = np.array(list(self.colors.values()), dtype=np.int64)[order]
        place = np.searchsorted(keys[order], packed).clip(max=len(keys) - 1)
        return np.where(keys[order][place] == packed, classes[place], _UNKNOWN)


def _check_known(
    indices: np.ndarray, stored: np.ndarray, name: str, kind: str, known: Sequence[object]
) -> None:
    unknown = indices == _UNKNOWN
    if unknown.any():
        row, column = np.unravel_index(int(unknown.argmax()), unknown.shape)
        examples = ", ".join(map(str, known[:24])) + (", ..." if len(known) > 24 else "")
        message = (
            f"label {name} has the unknown {kind} {stored[row, column].tolist()} in row {row}, "
            f"column {column}; add it to the file of classes, which has {examples}, or correct "
            f"{int(unknown.sum())} pixels"
        )
        raise DataError(message, name)


def parse_classes(content: bytes, name: str) -> Classes:
    """Read a file of classes; classes are numbered in the order of their ids."""
    expected = "json with classes of an id, a name and a color"
    document = parse_json(_FILE.validate_json, content, name, expected)
    entries = sorted(document["classes"], key=lambda entry: entry["id"])
    ignored = document.get("ignore_index", IGNORE)
    ignored = ignored if isinstance(ignored, list) else [ignored]
    ids = [entry["id"] for entry in entries]
    if "ignore_index" not in document and IGNORE in ids:
        problem = f"{name} has a class of id {IGNORE}, which is ignored by default"
        raise DataError(f"{problem}; set ignore_index to [] to ignore no value", "ignore_index")
    ids += ignored
    colors = [entry["color"] for entry in entries]
    if "ignore_color" in document:
        colors.append(document["ignore_color"])
    check_unique("ids and ignore_index", ids, name)
    check_unique("names", (entry["name"] for entry in entries), name)
    check_unique("colours", colors, name)
    order = [*range(len(entries)), *[IGNORE] * max(len(ignored), 1)]
    return Classes(
        tuple(SegmentationClass(entry["name"], entry["color"]) for entry in entries),
        dict(zip(ids, order, strict=False)),
        dict(zip(colors, order, strict=False)),
    )


def _packed(color: np.ndarray) -> np.ndarray:
    return (color[..., 0] * 256 + color[..., 1]) * 256 + color[..., 2]
