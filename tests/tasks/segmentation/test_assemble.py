import json
import os

import numpy as np
import pytest
from PIL import Image

from quatrain.specs import DataError
from quatrain.tasks.segmentation.assemble import Pair, assemble, read_label, read_pairs
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


def refusal(pairs, classes):
    with pytest.raises(DataError) as error:
        assemble(pairs, classes, "train")
    assert "\n" not in str(error.value)
    return error.value


def test_samples_have_an_image_and_its_label(camvid_folder, classes):
    part = assemble([pair(camvid_folder, "b"), pair(camvid_folder)], classes, "train").part
    sample = part[1]
    assert part.names[1].endswith("train/a.png")
    assert sample.image.shape == (3, 4, 6)
    assert sample.label[0].tolist() == [0, 0, 1, 1, IGNORE, 0]
    assert sample.image_id == 1


def test_a_label_of_another_size_is_refused(camvid_folder, classes):
    files = pair(camvid_folder)
    Image.fromarray(np.zeros((4, 7), np.uint8)).save(files.label)
    error = refusal([files], classes)
    assert error.field == str(files.image)
    assert f"is 6 x 4 pixels, but 7 x 4 according to its label {files.label}" in str(error)


def test_orientations_of_images_and_labels_are_counted_separately(camvid_folder, classes):
    files, exif = pair(camvid_folder), Image.Exif()
    exif[274] = 3
    with Image.open(files.label) as label:
        stored = np.array(label)
        label.save(files.label, exif=exif)
    with pytest.warns(DataWarning, match="1 label with an orientation"):
        checked = assemble([files], classes, "train")
    assert [name for name in checked.data_notes if "images with an orientation" in name] == []
    assert checked.part[0].label[stored != 255].tolist() == [
        classes.values[value] for value in stored[stored != 255].tolist()
    ]


def test_a_label_whose_name_is_not_utf_8_is_read(camvid_folder, classes):
    files = pair(camvid_folder)
    label = files.label.rename(files.label.with_name(os.fsdecode(b"\xff.png")))
    assert len(assemble([Pair(files.image, label)], classes, "train").part) == 1


@pytest.mark.parametrize("value", [1, 3, 254])
def test_an_unknown_value_is_refused_with_its_place(camvid_folder, classes, value):
    files = pair(camvid_folder, "b")
    Image.fromarray(np.full((4, 6), value, np.uint8)).save(files.label)
    error = refusal([pair(camvid_folder), files], classes)
    assert error.field == str(files.label)
    assert f"the unknown value {value} in row 0, column 0" in str(error)


def test_a_part_of_ignored_pixels_is_refused(camvid_folder, classes):
    files = pair(camvid_folder)
    Image.fromarray(np.full((4, 6), 255, np.uint8)).save(files.label)
    error = refusal([files], classes)
    assert error.field == "the train part"
    assert "0 pixels of a class and 24 ignored" in str(error)
    assert len(assemble([files, pair(camvid_folder, "b")], classes, "train").part) == 2


def test_missing_broken_and_repeated_files_are_refused(camvid_folder, classes):
    files = pair(camvid_folder)
    assert "among the images of the train part" in str(refusal([files, files], classes))
    assert "the train part has no images" in str(refusal([], classes))
    content = files.label.read_bytes()
    files.label.write_bytes(content[: len(content) // 2])
    assert refusal([files], classes).field == str(files.label)
    files.label.unlink()
    assert "1 of 1 files" in str(refusal([files], classes))
    os.mkfifo(files.label)
    assert "not regular files" in str(refusal([files], classes))
    files.label.unlink()
    files.label.write_bytes(content)
    files.image.write_bytes(b"")
    assert refusal([files], classes).field == str(files.image)


def test_palette_and_colour_labels_are_read(camvid_folder, classes):
    path = camvid_folder / "label.png"
    palette = Image.fromarray(np.array([[0, 2, 255]], np.uint8), "P")
    palette.putpalette(list(range(256)) * 3)
    palette.save(path)
    assert read_label(path, classes).tolist() == [[0, 1, IGNORE]]
    colors = [[[128, 64, 128], [128, 128, 128], [0, 0, 0]]]
    Image.fromarray(np.array(colors, np.uint8)).save(path)
    assert read_label(path, classes).tolist() == [[1, 0, IGNORE]]


def test_each_part_name_is_read_once(camvid_folder, classes):
    calls = []

    def pairs(part):
        calls.append(part)
        return [pair(camvid_folder, "a" if part == "train" else "b")]

    hashes = {"list": json.dumps(1)}
    corpus = read_pairs(("train", "val", "val"), pairs, classes, hashes)
    assert calls == ["train", "val"]
    assert corpus.valid is corpus.test
    assert sorted(corpus.test_hashes) == ["images of val", "labels of val", "list"]
    assert sorted(corpus.hashes) == [
        "images of train",
        "images of val",
        "labels of train",
        "labels of val",
        "list",
    ]


def test_ignored_pixels_and_absent_classes_give_warnings(camvid_folder, classes):
    files = pair(camvid_folder)
    with pytest.warns(DataWarning) as caught:
        assert assemble([files], classes, "train").data_notes == {
            "train: pixels ignored, 16.7 % of all": 4
        }
    assert len(caught) == 1
    entries = [*CLASSES["classes"], *(extra(9, "car"), extra(7, "tree"))]
    more = parse_classes(json.dumps({"classes": entries}).encode(), "classes.json")
    with pytest.warns(DataWarning):
        assert assemble([files], more, "val").data_notes == {
            "val: pixels ignored, 16.7 % of all": 4,
            'val: classes without a pixel: "tree", "car"': 2,
        }


def extra(number, name):
    return {"id": number, "name": name, "color": [number, 1, 1]}


def test_a_very_small_share_of_ignored_pixels_is_given_as_a_bound(camvid_folder, classes):
    files = pair(camvid_folder)
    label = np.tile(np.array([0, 2], np.uint8), (60, 60))
    Image.fromarray(np.zeros((60, 120, 3), np.uint8)).save(files.image)
    Image.fromarray(label).save(files.label)
    assert assemble([files], classes, "train").data_notes == {}
    label[0, 0] = IGNORE
    Image.fromarray(label).save(files.label)
    assert assemble([files], classes, "train").data_notes == {
        "train: pixels ignored, < 0.1 % of all": 1
    }
    label[:, 2:] = IGNORE
    Image.fromarray(label).save(files.label)
    (note,) = assemble([files], classes, "train").data_notes
    assert note == "train: pixels ignored, 98.3 % of all"


def write_mask(folder, stored, mode="L"):
    files = pair(folder)
    image = Image.fromarray(np.tile(np.array(stored, np.uint8), (4, 1)))
    if mode == "P":
        image.putpalette(list(range(256)) * 3)
    image.save(files.label)
    return files


def two_classes(first, second, **fields):
    entries = [extra(first, "background"), extra(second, "crack")]
    return parse_classes(json.dumps({"classes": entries, **fields}).encode(), "classes.json")


@pytest.mark.parametrize(
    ("stored", "mode", "problem"),
    [
        ([0, 0, 255, 255, 255, 0], "L", '12 pixels of the class "background" and 12 ignored'),
        ([0, 0, 255, 255, 255, 0], "P", '12 pixels of the class "background" and 12 ignored'),
        ([1, 1, 1, 1, 255, 1], "L", '20 pixels of the class "crack" and 4 ignored'),
    ],
)
def test_a_part_of_one_class_and_ignored_pixels_is_refused(camvid_folder, stored, mode, problem):
    error = refusal([write_mask(camvid_folder, stored, mode)], two_classes(0, 1))
    assert f"{problem} (value 255)" in str(error)
    assert "ignore_index" in str(error)


@pytest.mark.parametrize(("stored", "absent"), [(0, "crack"), (1, "background")])
def test_a_part_of_one_class_without_ignored_pixels_gives_a_warning(camvid_folder, stored, absent):
    files = write_mask(camvid_folder, [stored] * 6)
    with pytest.warns(DataWarning, match="1 class without a pixel"):
        checked = assemble([files], two_classes(0, 1), "val")
    assert checked.data_notes == {f'val: classes without a pixel: "{absent}"': 1}


def test_the_error_names_ignored_values_and_colours(camvid_folder):
    files = write_mask(camvid_folder, [0, 0, 7, 9, 9, 0])
    classes = two_classes(0, 1, ignore_index=[7, 9], ignore_color=[5, 6, 7])
    assert "ignored (value 7, 9 or colour (5, 6, 7))" in str(refusal([files], classes))
    many = two_classes(0, 1, ignore_index=list(range(2, 200)))
    assert "(value 2, 3, 4, 5, 6, 7, 8, 9, ...)" in str(refusal([files], many))


def test_the_names_of_many_absent_classes_are_shortened(camvid_folder):
    entries = [{"id": n, "name": f"class {n}", "color": [n, 1, 1]} for n in range(250)]
    classes = parse_classes(json.dumps({"classes": entries}).encode(), "classes.json")
    (note,) = assemble([write_mask(camvid_folder, [0, 1, 0, 0, 1, 1])], classes, "train").data_notes
    assert note.endswith('"class 8", "class 9" and 240 more')
    assert len(note) < 200


def test_one_label_with_two_classes_is_enough(camvid_folder):
    write_mask(camvid_folder, [0] * 6)
    other = pair(camvid_folder, "b")
    Image.fromarray(np.tile(np.array([0, 1, 0, 0, 0, 0], np.uint8), (4, 1))).save(other.label)
    both = assemble([pair(camvid_folder), other], two_classes(0, 1), "train")
    assert both.data_notes == {}


def test_masks_of_0_and_255_are_read_with_an_empty_ignore_index(camvid_folder):
    files = write_mask(camvid_folder, [0, 0, 255, 255, 255, 0])
    classes = two_classes(0, 255, ignore_index=[])
    checked = assemble([files], classes, "train")
    assert checked.data_notes == {}
    assert checked.part[0].label[0].tolist() == [0, 0, 1, 1, 1, 0]


def test_masks_of_one_bit_are_0_and_1(camvid_folder):
    files = pair(camvid_folder)
    Image.fromarray(np.tile(np.array([0, 1, 1, 0, 0, 0], bool), (4, 1))).save(files.label)
    assert assemble([files], two_classes(0, 1), "train").part[0].label[0].tolist()[:3] == [0, 1, 1]


def test_values_outside_of_the_ids_are_refused(camvid_folder):
    files = write_mask(camvid_folder, [0, 1, 1, 0, 0, 0])
    assert "the unknown value 0" in str(refusal([files], two_classes(1, 2)))
    other = write_mask(camvid_folder, [1, 2, 2, 1, 1, 1])
    assert "the unknown value 2" in str(refusal([other], two_classes(0, 1)))
