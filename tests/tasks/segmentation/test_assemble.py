import json
import os

import numpy as np
import pytest
from PIL import Image

from quatrain.specs import DataError
from quatrain.tasks.segmentation.assemble import Pair, assemble, read_label, read_parts
from quatrain.tasks.segmentation.classes import parse_classes
from quatrain.tasks.segmentation.corpus import IGNORE
from quatrain.tasks.vision import DataWarning
from tasks.segmentation.conftest import CLASSES

pytestmark = pytest.mark.filterwarnings("ignore::quatrain.tasks.vision.DataWarning")


@pytest.fixture
def classes(camvid_folder):
    return parse_classes((camvid_folder / "classes.json").read_bytes(), "classes.json")


def pair(folder, name="a"):
    return Pair(folder / "train" / f"{name}.png", folder / "trainannot" / f"{name}.png")


def problem(pairs, classes):
    with pytest.raises(DataError) as caught:
        assemble(pairs, classes, "train")
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_labels_come_beside_their_images(camvid_folder, classes):
    part = assemble([pair(camvid_folder, "b"), pair(camvid_folder)], classes, "train").part
    sample = part[1]
    assert part.names[1].endswith("train/a.png")
    assert sample.image.shape == (3, 4, 6)
    assert sample.label[0].tolist() == [0, 0, 1, 1, IGNORE, 0]
    assert sample.image_id == 1


def test_a_label_of_another_size_is_refused(camvid_folder, classes):
    own = pair(camvid_folder)
    Image.fromarray(np.zeros((4, 7), np.uint8)).save(own.label)
    message = problem([own], classes)
    assert f'is "6 x 4", expected 7 x 4, as its label {own.label} says' in message


def test_orientations_of_images_and_of_labels_are_counted_apart_and_not_used(
    camvid_folder, classes
):
    own, turn = pair(camvid_folder), Image.Exif()
    turn[274] = 3
    with Image.open(own.label) as label:
        stored = np.array(label)
        label.save(own.label, exif=turn)
    with pytest.warns(DataWarning, match="train: 1 labels with an orientation, which is not"):
        made = assemble([own], classes, "train")
    assert [name for name in made.skipped if "images with an orientation" in name] == []
    assert made.part[0].label[stored != 255].tolist() == [
        classes.values[value] for value in stored[stored != 255].tolist()
    ]


def test_a_label_whose_name_is_not_utf_8_is_read(camvid_folder, classes):
    own = pair(camvid_folder)
    label = own.label.rename(own.label.with_name(os.fsdecode(b"\xff.png")))
    assert len(assemble([Pair(own.image, label)], classes, "train").part) == 1


@pytest.mark.parametrize("value", [1, 3, 254])
def test_a_value_of_no_class_is_refused_when_the_data_are_opened(camvid_folder, classes, value):
    own = pair(camvid_folder, "b")
    Image.fromarray(np.full((4, 6), value, np.uint8)).save(own.label)
    message = problem([pair(camvid_folder), own], classes)
    assert f"label {own.label}, row 0, column 0 is {value}" in message


def test_labels_that_are_all_ignored_are_refused(camvid_folder, classes):
    own = pair(camvid_folder)
    Image.fromarray(np.full((4, 6), 255, np.uint8)).save(own.label)
    found = "0 pixels of a class and 24 ignored (value 255 or colour (0, 0, 0))"
    assert f'the labels of the train part is "{found}"' in problem([own], classes)
    assert len(assemble([own, pair(camvid_folder, "b")], classes, "train").part) == 2


def test_missing_broken_and_repeated_files_are_refused(camvid_folder, classes):
    own = pair(camvid_folder)
    assert "the images of the train part" in problem([own, own], classes)
    assert "at least one image" in problem([], classes)
    content = own.label.read_bytes()
    own.label.write_bytes(content[: len(content) // 2])
    assert str(own.label) in problem([own], classes)
    own.label.unlink()
    assert "missing 1 of 1" in problem([own], classes)
    own.label.write_bytes(content)
    own.image.write_bytes(b"")
    assert str(own.image) in problem([own], classes)


def test_palette_and_colour_labels_are_read_as_they_are_meant(camvid_folder, classes):
    path = camvid_folder / "label.png"
    palette = Image.fromarray(np.array([[0, 2, 255]], np.uint8), "P")
    palette.putpalette(list(range(256)) * 3)
    palette.save(path)
    assert read_label(path, classes).tolist() == [[0, 1, IGNORE]]
    colors = [[[128, 64, 128], [128, 128, 128], [0, 0, 0]]]
    Image.fromarray(np.array(colors, np.uint8)).save(path)
    assert read_label(path, classes).tolist() == [[1, 0, IGNORE]]


def test_a_part_of_two_roles_is_read_once(camvid_folder, classes):
    asked = []

    def pairs(part):
        asked.append(part)
        return [pair(camvid_folder, "a" if part == "train" else "b")]

    hashes = {"list": json.dumps(1)}
    corpus = read_parts(("train", "val", "val"), pairs, classes, hashes)
    assert asked == ["train", "val"]
    assert corpus.valid is corpus.test
    assert sorted(corpus.test_hashes) == ["images of val", "labels of val", "list"]
    assert sorted(corpus.hashes) == [
        "images of train",
        "images of val",
        "labels of train",
        "labels of val",
        "list",
    ]


def test_ignored_pixels_and_absent_classes_are_counted_when_the_data_are_opened(
    camvid_folder, classes
):
    own = pair(camvid_folder)
    with pytest.warns(DataWarning, match=r"^train: 4 pixels ignored, 16\.7 % of all$") as caught:
        assert assemble([own], classes, "train").skipped == {
            "train: pixels ignored, 16.7 % of all": 4
        }
    assert len(caught) == 1
    entries = [*CLASSES["classes"], *(extra(9, "car"), extra(7, "tree"))]
    more = parse_classes(json.dumps({"classes": entries}).encode(), "classes.json")
    with pytest.warns(DataWarning, match='val: 2 classes without a pixel: "tree", "car"$'):
        assert assemble([own], more, "val").skipped == {
            "val: pixels ignored, 16.7 % of all": 4,
            'val: classes without a pixel: "tree", "car"': 2,
        }


def extra(number, name):
    return {"id": number, "name": name, "color": [number, 1, 1]}


def test_a_share_too_small_to_show_is_a_bound_and_a_whole_one_is_a_number(camvid_folder, classes):
    own = pair(camvid_folder)
    label = np.tile(np.array([0, 2], np.uint8), (60, 60))
    Image.fromarray(np.zeros((60, 120, 3), np.uint8)).save(own.image)
    Image.fromarray(label).save(own.label)
    assert assemble([own], classes, "train").skipped == {}
    label[0, 0] = IGNORE
    Image.fromarray(label).save(own.label)
    assert assemble([own], classes, "train").skipped == {"train: pixels ignored, < 0.1 % of all": 1}
    label[:, 2:] = IGNORE
    Image.fromarray(label).save(own.label)
    (note,) = assemble([own], classes, "train").skipped
    assert note == "train: pixels ignored, 98.3 % of all"


def masks(folder, stored, mode="L"):
    own = pair(folder)
    image = Image.fromarray(np.tile(np.array(stored, np.uint8), (4, 1)))
    if mode == "P":
        image.putpalette(list(range(256)) * 3)
    image.save(own.label)
    return own


def two_classes(first, second, **fields):
    entries = [extra(first, "background"), extra(second, "crack")]
    return parse_classes(json.dumps({"classes": entries, **fields}).encode(), "classes.json")


@pytest.mark.parametrize(
    ("stored", "mode", "found"),
    [
        ([0, 0, 255, 255, 255, 0], "L", '12 pixels of the class "background" and 12 ignored'),
        ([0, 0, 255, 255, 255, 0], "P", '12 pixels of the class "background" and 12 ignored'),
        ([1, 1, 1, 1, 255, 1], "L", '20 pixels of the class "crack" and 4 ignored'),
    ],
)
def test_a_part_of_one_class_beside_ignored_pixels_is_refused(camvid_folder, stored, mode, found):
    message = problem([masks(camvid_folder, stored, mode)], two_classes(0, 1))
    assert f'the labels of the train part is "{found} (value 255)"' in message
    assert "an ignore_index that is none of them" in message


@pytest.mark.parametrize(("stored", "absent"), [(0, "crack"), (1, "background")])
def test_a_part_of_one_class_without_ignored_pixels_is_read_and_noted(
    camvid_folder, stored, absent
):
    own = masks(camvid_folder, [stored] * 6)
    with pytest.warns(DataWarning, match=f'val: 1 classes without a pixel: "{absent}"$'):
        found = assemble([own], two_classes(0, 1), "val")
    assert found.skipped == {f'val: classes without a pixel: "{absent}"': 1}


def test_the_values_and_the_colour_that_are_ignored_are_named(camvid_folder):
    own = masks(camvid_folder, [0, 0, 7, 9, 9, 0])
    classes = two_classes(0, 1, ignore_index=[7, 9], ignore_color=[5, 6, 7])
    assert "ignored (value 7, 9 or colour (5, 6, 7))" in problem([own], classes)
    many = two_classes(0, 1, ignore_index=list(range(2, 200)))
    assert "(value 2, 3, 4, 5, 6, 7, 8, 9, ...)" in problem([own], many)


def test_a_thousand_absent_classes_are_named_in_a_line(camvid_folder):
    entries = [{"id": n, "name": f"class {n}", "color": [n, 1, 1]} for n in range(250)]
    classes = parse_classes(json.dumps({"classes": entries}).encode(), "classes.json")
    (note,) = assemble([masks(camvid_folder, [0, 1, 0, 0, 1, 1])], classes, "train").skipped
    assert note.endswith('"class 8", "class 9" and 240 more')
    assert len(note) < 200


def test_one_label_of_two_classes_among_others_is_enough(camvid_folder):
    masks(camvid_folder, [0] * 6)
    other = pair(camvid_folder, "b")
    Image.fromarray(np.tile(np.array([0, 1, 0, 0, 0, 0], np.uint8), (4, 1))).save(other.label)
    both = assemble([pair(camvid_folder), other], two_classes(0, 1), "train")
    assert both.skipped == {}


def test_masks_of_0_and_255_are_read_where_the_classes_say_so(camvid_folder):
    own = masks(camvid_folder, [0, 0, 255, 255, 255, 0])
    classes = two_classes(0, 255, ignore_index=[])
    found = assemble([own], classes, "train")
    assert found.skipped == {}
    assert found.part[0].label[0].tolist() == [0, 0, 1, 1, 1, 0]


def test_masks_of_one_bit_are_0_and_1(camvid_folder):
    own = pair(camvid_folder)
    Image.fromarray(np.tile(np.array([0, 1, 1, 0, 0, 0], bool), (4, 1))).save(own.label)
    assert assemble([own], two_classes(0, 1), "train").part[0].label[0].tolist()[:3] == [0, 1, 1]


def test_ids_that_count_from_one_do_not_take_masks_that_count_from_zero(camvid_folder):
    own = masks(camvid_folder, [0, 1, 1, 0, 0, 0])
    assert "is 0, expected a value of the classes (1, 2, 255)" in problem([own], two_classes(1, 2))
    other = masks(camvid_folder, [1, 2, 2, 1, 1, 1])
    assert "is 2, expected a value of the classes" in problem([other], two_classes(0, 1))
