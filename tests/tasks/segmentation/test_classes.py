import json

import numpy as np
import pytest

from quatrain.specs import DataError
from quatrain.tasks.segmentation.classes import parse_classes
from quatrain.tasks.segmentation.corpus import IGNORE, SegmentationClass

ENTRIES = [
    {"id": 4, "name": "road", "color": [1, 2, 3]},
    {"id": 0, "name": "sky", "color": [4, 5, 6]},
]


def parsed(**fields):
    return parse_classes(json.dumps({"classes": ENTRIES, **fields}).encode(), "classes.json")


def refusal(function, *arguments, **fields):
    with pytest.raises(DataError) as error:
        function(*arguments, **fields)
    assert "\n" not in str(error.value)
    return error.value


def test_classes_are_numbered_in_the_order_of_their_ids():
    assert parsed().entries == (
        SegmentationClass("sky", (4, 5, 6)),
        SegmentationClass("road", (1, 2, 3)),
    )


@pytest.mark.parametrize("mode", ["L", "P", "I;16", "I"])
def test_values_become_classes(mode):
    stored = np.array([[0, 4, 255]], np.uint8 if len(mode) == 1 and mode != "I" else np.int32)
    assert parsed().indices(mode, stored, "a.png").tolist() == [[0, 1, IGNORE]]
    assert parsed().indices(mode, stored, "a.png").dtype == np.int64


def test_ignore_index_may_be_another_value_or_several():
    assert parsed(ignore_index=9).indices("L", np.array([[9]]), "a").tolist() == [[IGNORE]]
    several = parsed(ignore_index=[9, 3]).indices("L", np.array([[9, 3, 4]]), "a")
    assert several.tolist() == [[IGNORE, IGNORE, 1]]
    error = refusal(parsed(ignore_index=9).indices, "L", np.array([[255]]), "a")
    assert "the unknown value 255" in str(error)


def test_a_class_may_have_the_value_255_if_another_is_ignored():
    entries = [*ENTRIES, {"id": 255, "name": "tree", "color": [7, 8, 9]}]
    classes = parsed(classes=entries, ignore_index=1)
    assert classes.indices("L", np.array([[255, 1]]), "a").tolist() == [[2, IGNORE]]


def test_colours_become_classes():
    stored = np.array([[[1, 2, 3], [4, 5, 6], [9, 9, 9]]], np.uint8)
    indices = parsed(ignore_color=[9, 9, 9]).indices("RGB", stored, "a.png")
    assert indices.tolist() == [[1, 0, IGNORE]]
    error = refusal(parsed().indices, "RGB", stored, "a.png")
    assert error.field == "a.png"
    assert "the unknown colour [9, 9, 9] in row 0, column 2" in str(error)


@pytest.mark.parametrize("value", [1, 254, 256, 65535, -1])
def test_an_unknown_value_is_refused_with_its_place(value):
    error = refusal(parsed().indices, "I", np.array([[0, 4], [value, value]]), "a.png")
    assert f"the unknown value {value} in row 1, column 0" in str(error)
    assert "2 pixels" in str(error)


@pytest.mark.parametrize("mode", ["RGBA", "LA", "F", "CMYK"])
def test_a_label_of_another_mode_is_refused(mode):
    error = refusal(parsed().indices, mode, np.zeros((2, 2)), "a.png")
    assert f"is of mode {mode}" in str(error)


@pytest.mark.parametrize(
    ("fields", "place"),
    [
        ({"classes": []}, "classes: "),
        ({"classes": [ENTRIES[0], ENTRIES[0]]}, "among the ids and ignore_index of classes.json"),
        ({"ignore_index": 4}, "among the ids and ignore_index of classes.json"),
        ({"ignore_color": [1, 2, 3]}, "among the colours of classes.json"),
        (
            {"classes": [ENTRIES[0], {**ENTRIES[1], "name": "road"}]},
            "among the names of",
        ),
        ({"classes": [{"id": 300, "name": "a", "color": [1, 2, 3]}]}, "classes.0.id"),
        ({"classes": [{"id": 3, "name": "a", "color": [1, 2]}]}, "classes.0.color"),
        ({"classes": [{"id": 3, "name": "a", "color": [1, 2, 256]}]}, "classes.0.color.2"),
        ({"classes": [{"id": 3, "color": [1, 2, 3]}]}, "classes.0.name"),
    ],
)
def test_an_inconsistent_file_of_classes_is_refused(fields, place):
    error = refusal(parsed, **fields)
    assert place in str(error)


def test_invalid_json_is_refused():
    assert refusal(parse_classes, b"sky,road", "classes.json").field == "classes.json"


def test_a_class_with_the_id_255_requires_ignore_index():
    entries = [
        {"id": 0, "name": "background", "color": [0, 0, 0]},
        {"id": 255, "name": "crack", "color": [255, 255, 255]},
    ]

    def parsed(**fields):
        return parse_classes(json.dumps({"classes": entries, **fields}).encode(), "c.json")

    assert refusal(parsed).field == "ignore_index"
    assert "255 is more than once" in str(refusal(parsed, ignore_index=255))
    assert parsed(ignore_index=[]).values == {0: 0, 255: 1}
    assert parsed(ignore_index=254).values == {0: 0, 255: 1, 254: 255}


def test_there_are_at_most_255_classes():
    entries = [{"id": i, "name": str(i), "color": [i, 0, 0]} for i in range(256)]
    document = {"classes": entries, "ignore_index": []}
    refusal(parse_classes, json.dumps(document).encode(), "c.json")
    document["classes"] = entries[1:]
    assert len(parse_classes(json.dumps(document).encode(), "c.json").entries) == 255
