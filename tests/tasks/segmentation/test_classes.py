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


def problem(function, *arguments, **fields):
    with pytest.raises(DataError) as caught:
        function(*arguments, **fields)
    assert "\n" not in str(caught.value)
    return str(caught.value)


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


def test_ignored_values_may_be_another_or_many():
    assert parsed(ignore_index=9).indices("L", np.array([[9]]), "a").tolist() == [[IGNORE]]
    several = parsed(ignore_index=[9, 3]).indices("L", np.array([[9, 3, 4]]), "a")
    assert several.tolist() == [[IGNORE, IGNORE, 1]]
    assert "value of the classes" in problem(
        parsed(ignore_index=9).indices, "L", np.array([[255]]), "a"
    )


def test_a_class_may_have_the_value_255_where_another_is_ignored():
    entries = [*ENTRIES, {"id": 255, "name": "tree", "color": [7, 8, 9]}]
    classes = parsed(classes=entries, ignore_index=1)
    assert classes.indices("L", np.array([[255, 1]]), "a").tolist() == [[2, IGNORE]]


def test_colours_become_classes():
    stored = np.array([[[1, 2, 3], [4, 5, 6], [9, 9, 9]]], np.uint8)
    found = parsed(ignore_color=[9, 9, 9]).indices("RGB", stored, "a.png")
    assert found.tolist() == [[1, 0, IGNORE]]
    assert problem(parsed().indices, "RGB", stored, "a.png") == (
        "label a.png, row 0, column 2 is [9, 9, 9], expected a colour of the classes "
        "((4, 5, 6), (1, 2, 3)): name it in the file of classes, or mend 1 pixels."
    )


@pytest.mark.parametrize("value", [1, 254, 256, 65535, -1])
def test_a_value_of_no_class_is_refused_with_its_place(value):
    message = problem(parsed().indices, "I", np.array([[0, 4], [value, value]]), "a.png")
    assert message == (
        f"label a.png, row 1, column 0 is {value}, expected a value of the classes "
        "(0, 4, 255): name it in the file of classes, or mend 2 pixels."
    )


@pytest.mark.parametrize("mode", ["RGBA", "LA", "F", "CMYK"])
def test_a_label_of_another_kind_is_refused(mode):
    assert f"mode {mode}" in problem(parsed().indices, mode, np.zeros((2, 2)), "a.png")


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"classes": []}, "classes: list should have at least 1 item"),
        ({"classes": [ENTRIES[0], ENTRIES[0]]}, "the ids and ignore_index of classes.json"),
        ({"ignore_index": 4}, "the ids and ignore_index of classes.json"),
        ({"ignore_color": [1, 2, 3]}, "the colours of classes.json"),
        ({"classes": [ENTRIES[0], {**ENTRIES[1], "name": "road"}]}, "the names of classes.json"),
        ({"classes": [{"id": 300, "name": "a", "color": [1, 2, 3]}]}, "classes.0.id"),
        ({"classes": [{"id": 3, "name": "a", "color": [1, 2]}]}, "classes.0.color"),
        ({"classes": [{"id": 3, "name": "a", "color": [1, 2, 256]}]}, "classes.0.color.2"),
        ({"classes": [{"id": 3, "color": [1, 2, 3]}]}, "classes.0.name: field required"),
    ],
)
def test_a_file_of_classes_that_contradicts_itself_is_refused(fields, said):
    assert said in problem(parsed, **fields)


def test_text_that_is_no_json_is_refused():
    assert "classes.json" in problem(parse_classes, b"sky,road", "classes.json")


def test_a_class_of_the_value_that_is_ignored_by_default_needs_a_word_on_it():
    entries = [
        {"id": 0, "name": "background", "color": [0, 0, 0]},
        {"id": 255, "name": "crack", "color": [255, 255, 255]},
    ]

    def parsed(**fields):
        return parse_classes(json.dumps({"classes": entries, **fields}).encode(), "c.json")

    with pytest.raises(DataError, match=r"ignore_index of c\.json is .missing.*write \[\] if no"):
        parsed()
    with pytest.raises(DataError, match="255 more than once"):
        parsed(ignore_index=255)
    assert parsed(ignore_index=[]).values == {0: 0, 255: 1}
    assert parsed(ignore_index=254).values == {0: 0, 255: 1, 254: 255}


def test_as_many_classes_as_there_are_bytes_leave_none_for_ignored_pixels():
    entries = [{"id": i, "name": str(i), "color": [i, 0, 0]} for i in range(256)]
    document = {"classes": entries, "ignore_index": []}
    with pytest.raises(DataError, match="at most 255 items"):
        parse_classes(json.dumps(document).encode(), "c.json")
    document["classes"] = entries[1:]
    assert len(parse_classes(json.dumps(document).encode(), "c.json").entries) == 255
