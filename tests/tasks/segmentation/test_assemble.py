import json

import numpy as np
import pytest
from PIL import Image

from quatrain.specs import DataError
from quatrain.tasks.segmentation.assemble import Pair, assemble, read_label, read_parts
from quatrain.tasks.segmentation.classes import parse_classes
from quatrain.tasks.segmentation.corpus import IGNORE


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


@pytest.mark.parametrize("value", [1, 3, 254])
def test_a_value_of_no_class_is_refused_when_the_data_are_opened(camvid_folder, classes, value):
    own = pair(camvid_folder, "b")
    Image.fromarray(np.full((4, 6), value, np.uint8)).save(own.label)
    message = problem([pair(camvid_folder), own], classes)
    assert f"label {own.label}, row 0, column 0 is {value}" in message


def test_labels_that_are_all_ignored_are_refused(camvid_folder, classes):
    own = pair(camvid_folder)
    Image.fromarray(np.full((4, 6), 255, np.uint8)).save(own.label)
    assert "1 labels of ignored pixels only" in problem([own], classes)
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
