import hashlib
import operator
import re
import warnings

import pytest
import torch

from quatrain.specs import DataError, SpecError, identity
from quatrain.tasks.detection.coco import COCO2017, CocoSpec
from quatrain.tasks.vision import DataWarning


def problem(folder, spec=None):
    with pytest.raises(DataError) as caught:
        (spec or CocoSpec()).read(folder)
    message = str(caught.value)
    assert "\n" not in message
    return message


def change(index, **fields):
    """Change fields of one annotation."""
    return lambda document: document["annotations"][index].update(fields)


def test_boxes_become_corners_and_ids_become_labels_in_their_order(coco_folder):
    corpus = CocoSpec().read(coco_folder)
    assert corpus.categories == ("car", "dog")
    sample = corpus.train[0]
    assert sample.image.shape == (3, 20, 30)
    assert sample.image.dtype == torch.uint8
    assert sample.boxes.tolist() == [[2.25, 3, 12.25, 11], [20, 10, 30, 20]]
    assert sample.boxes.dtype == torch.float32
    assert sample.labels.tolist() == [2, 1]
    assert sample.crowd.tolist() == [False, True]
    assert sample.image_id == 7
    assert [len(corpus.train), len(corpus.valid), len(corpus.test)] == [2, 2, 2]
    assert corpus.skipped == {}


def test_the_truth_is_what_the_file_says(coco_folder, spoil):
    xywh = [0.1, 0.2, 0.7, 10.3]
    spoil("test", change(0, bbox=xywh))
    truth = CocoSpec().read(coco_folder).test.truths[0]
    assert truth.xywh[0].tolist() == xywh
    assert truth.areas.tolist() == [50.5, 50.5]


@pytest.mark.parametrize("first", [0, -1, 2**53, 1_700_000_000_000_000_001, 10**30])
def test_ids_of_any_size_are_kept_and_told_apart(coco_folder, spoil, first):
    def renumber(document):
        for entry in document["images"]:
            entry["id"] += first - 17
        for entry in document["annotations"]:
            entry.update(image_id=entry["image_id"] + first - 17, id=entry["id"] + first)

    spoil("val", renumber)
    truths = CocoSpec(test="val").read(coco_folder).test.truths
    assert [truth.image_id for truth in truths] == [first, first + 1]
    assert [truth.labels.tolist() for truth in truths] == [[2, 1], [1]]


def test_an_area_that_is_not_given_is_that_of_the_box(spoil):
    folder = spoil("test", lambda document: document["annotations"][0].pop("area") and None)
    assert CocoSpec().read(folder).test.truths[0].areas[0] == 80


def test_ignored_boxes_are_handed_on_as_crowd(spoil):
    folder = spoil("train", change(0, ignore=1))
    with pytest.warns(DataWarning, match='train: 1 categories without a box.*: "dog"$'):
        corpus = CocoSpec(keep_empty=True).read(folder)
    assert corpus.train[0].crowd.tolist() == [True, True]


def test_the_same_part_may_validate_and_test(coco_folder):
    corpus = CocoSpec(test="val").read(coco_folder)
    assert corpus.test is corpus.valid
    assert len(corpus.hashes) == 4


def test_a_part_that_trains_and_tests_is_written_two_ways(spoil):
    folder = spoil("val", change(0, bbox=[25, 3, 10, 8]))
    with pytest.warns(DataWarning):
        corpus = CocoSpec(train="val", test="val").read(folder)
    assert corpus.train.truths[0].xywh[0].tolist() == [25, 3, 5, 8]
    assert corpus.test.truths[0].xywh[0].tolist() == [25, 3, 10, 8]


def test_hashes_are_of_the_files_and_of_the_images(coco_folder):
    before = CocoSpec().read(coco_folder).hashes
    name = "annotations/instances_val.json"
    assert before[name] == hashlib.sha256((coco_folder / name).read_bytes()).hexdigest()
    (coco_folder / "images/val/0.png").write_bytes((coco_folder / "images/val/1.png").read_bytes())
    after = CocoSpec().read(coco_folder).hashes
    assert {key for key in before if before[key] != after[key]} == {f"images of {name}"}


def test_the_hashes_of_the_test_part_are_its_own(coco_folder):
    first = CocoSpec(test="val").read(coco_folder)
    assert first.test_hashes.items() <= first.hashes.items()
    assert sorted(first.test_hashes) == [
        "annotations/instances_val.json",
        "images of annotations/instances_val.json",
    ]


BAD_BOXES = {
    "boxes without area, left out": [[5, 5, 0, 3], [5, 5, 3, 0], [5, 5, -2, 4], [1e6, 5, 1e-6, 4]],
    "boxes outside their image, left out": [[30, 5, 3, 3], [-5, 5, 5, 3], [5, 25, 3, 3]],
    "boxes thinner than 0.01 pixels, left out": [[5, 5, 1e-3, 3], [29.999999, 5, 5, 3]],
}


@pytest.mark.parametrize(("kind", "bbox"), [(k, b) for k, each in BAD_BOXES.items() for b in each])
def test_a_box_that_is_none_is_left_out_of_training_and_counted(spoil, kind, bbox):
    folder = spoil("train", change(2, bbox=bbox))
    with pytest.warns(DataWarning, match=rf"train: 1 {kind} \(the first is annotation 3 of ann"):
        corpus = CocoSpec().read(folder)
    assert corpus.train[0].labels.tolist() == [2]
    assert corpus.skipped == {f"train: {kind}": 1}


def test_an_area_below_zero_which_no_size_holds_is_refused(spoil):
    assert "area" in problem(spoil("test", change(2, area=-1.0)))


@pytest.mark.parametrize("bbox", [each[0] for each in BAD_BOXES.values()])
def test_a_box_that_is_none_is_refused_where_it_would_be_scored(spoil, bbox):
    message = problem(spoil("test", change(2, bbox=bbox)))
    assert message.startswith('annotation 3 of annotations/instances_test.json is "x y w h [')
    assert "a box with an area inside its image of 30 x 20" in message


def test_a_box_across_the_edge_is_clipped_for_training_and_counted(spoil):
    folder = spoil("train", change(0, bbox=[-4, 3, 10, 100]))
    with pytest.warns(DataWarning, match="train: 1 boxes beyond the edge of their image, clipped"):
        corpus = CocoSpec().read(folder)
    assert corpus.train[0].boxes[0].tolist() == [0, 3, 6, 20]


def test_a_box_across_the_edge_is_scored_as_written_and_counted(spoil):
    folder = spoil("test", change(0, bbox=[-4, 3, 10, 100]))
    with pytest.warns(DataWarning, match="test: 1 boxes beyond .* kept as written"):
        corpus = CocoSpec().read(folder)
    assert corpus.test.truths[0].xywh[0].tolist() == [-4, 3, 10, 100]


def test_rounding_beyond_the_edge_is_clipped_without_a_word(spoil):
    folder = spoil("train", change(0, bbox=[20, 3, 10.01, 8]))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert CocoSpec().read(folder).train[0].boxes[0].tolist() == [20, 3, 30, 11]


@pytest.mark.filterwarnings("ignore:train. 1 categories without a box")
def test_images_without_boxes_do_not_train_unless_asked_to(spoil):
    folder = spoil("train", lambda document: document["annotations"].pop(0) and None)
    with pytest.warns(DataWarning, match=r"train: 1 images without boxes, left out .*0\.png"):
        corpus = CocoSpec().read(folder)
    assert [truth.image_id for truth in corpus.train.truths] == [8]
    assert corpus.train[0].image_id == 8
    assert len(CocoSpec(keep_empty=True).read(folder).train) == 2


def test_images_without_boxes_are_scored(spoil):
    folder = spoil("test", lambda document: document["annotations"].pop(1) and None)
    with pytest.warns(DataWarning, match='test: 1 categories without a box.*: "car"$'):
        sample = CocoSpec().read(folder).test[1]
    assert sample.boxes.shape == (0, 4)
    assert sample.labels.shape == sample.crowd.shape == (0,)


def test_categories_that_no_box_of_a_part_has_are_counted_and_named(spoil):
    more = [{"id": 50, "name": "cat"}, {"id": 51, "name": "emu"}]
    for part in ("train", "val", "test"):
        folder = spoil(part, lambda document: document["categories"].extend(more))
    spoil("val", change(2, category_id=50, iscrowd=0))
    with pytest.warns(DataWarning, match="categories without a box") as warned:
        corpus = CocoSpec().read(folder)
    assert str(warned[0].message).startswith("train: 2 categories without a box (crowd ")
    start = "categories without a box (crowd not counted): "
    assert corpus.skipped == {
        f'train: {start}"cat", "emu"': 2,
        f'val: {start}"emu"': 1,
        f'test: {start}"cat", "emu"': 2,
    }


@pytest.mark.parametrize(
    ("bbox", "iscrowd", "said"),
    [
        ([15, 15, -2, -2], 0, "2 images with 3 boxes, none of them usable (3 boxes without area"),
        ([100, 5, 3, 3], 0, "2 images with 3 boxes, none of them usable (3 boxes outside their im"),
        ([5, 5, 1e-3, 3], 0, "3 boxes thinner than 0.01 pixels, left out"),
        ([5, 5, 3, 3], 1, "2 images with 3 boxes, none of them usable (3 marked as crowd"),
    ],
)
def test_why_no_box_of_a_part_is_left_is_said(spoil, bbox, iscrowd, said):
    def ruin(document):
        for entry in document["annotations"]:
            entry.update(bbox=bbox, iscrowd=iscrowd)

    folder = spoil("train", ruin)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DataWarning)
        message = problem(folder)
    assert message.startswith("the train part, annotations/instances_train.json is")
    assert said in message


def boxed(bboxes):
    """Give all annotations these boxes, one after the other."""

    def change_all(document):
        for entry, bbox in zip(document["annotations"], bboxes, strict=True):
            entry.update(bbox=bbox, iscrowd=0)

    return change_all


UNITS = {
    "boxes within [0, 1], as fractions": [[0.1, 0.2, 0.5, 0.4], [0, 0, 1, 1], [0.3, 0.3, 0.7, 0.7]],
    "boxes thinner than a pixel, more than half of the part's": [
        [3, 4, 0.5, 9],
        [7, 8, 9, 0.9],
        [4, 5, 0.2, 0.2],
    ],
    "boxes that leave their image as x y w h, and fit it as x0 y0 x1 y1": [
        [12, 3, 25, 11],
        [20, 10, 30, 20],
        [2, 11, 30, 17],
    ],
}


@pytest.mark.parametrize("part", ["train", "test"])
@pytest.mark.parametrize(("kind", "bboxes"), list(UNITS.items()))
@pytest.mark.filterwarnings("ignore:.*beyond the edge")
def test_boxes_in_another_unit_or_order_are_counted(spoil, part, kind, bboxes):
    folder = spoil(part, boxed(bboxes))
    with pytest.warns(DataWarning, match=re.escape(f"{part}: 3 {kind}")):
        corpus = CocoSpec().read(folder)
    assert [n for name, n in corpus.skipped.items() if kind in name] == [3]


@pytest.mark.parametrize("bboxes", list(UNITS.values()))
@pytest.mark.filterwarnings("ignore:.*beyond the edge")
def test_a_few_such_boxes_among_others_are_taken_as_they_are(spoil, bboxes):
    folder = spoil("test", boxed([bboxes[0], [2, 3, 10, 8], [15, 5, 4, 4]]))
    skipped = CocoSpec().read(folder).skipped
    assert not any(kind in name for name in skipped for kind in UNITS)


@pytest.mark.parametrize("part", ["train", "test"])
def test_a_part_without_any_box_is_refused(spoil, part):
    folder = spoil(part, lambda document: document.update(annotations=[]))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DataWarning)
        assert f"the {part} part, annotations/instances_{part}.json is" in problem(folder)


@pytest.mark.parametrize(
    ("spoiling", "said"),
    [
        (change(0, category_id=5), "the category of annotation 1 of annotations/instances_"),
        (change(0, image_id=99), "the image of annotation 1 of annotations/instances_"),
        (change(1, id=1), 'is "1 more than once, as are 0 others", expected each once'),
        (change(0, bbox=[1, 2, 3]), "annotations.0.bbox"),
        (change(0, bbox=[1, 2, 3, float("nan")]), "annotations.0.bbox.3: input should be a finite"),
        (change(0, bbox=None), "annotations.0.bbox"),
        (change(0, iscrowd=5), "annotations.0.iscrowd"),
        (lambda d: d["images"][1].update(id=d["images"][0]["id"]), "the image ids of annotations/"),
        (lambda d: d["images"][1].update(file_name="0.png"), "the images of annotations/"),
        (lambda d: d["images"][1].update(width=0), "images.1.width"),
        (lambda d: d["images"][1].update(width=31), 'is "30 x 20", expected 31 x 20, as annotat'),
        (
            lambda d: d["images"][0].update(width=20, height=30),
            "the orientation that it gives is not used",
        ),
        (lambda d: d["images"][1].update(file_name="9.png"), "missing 1 of 2"),
        (lambda d: d["images"][0].update(file_name="0\0.png"), "without control characters"),
        (lambda d: d["images"][0].update(file_name="0\n.png"), "without control characters"),
        (change(0, id=float(2**53)), "annotations.0.id: an id of this size should be written as"),
        (change(0, image_id=1.7e18), "the entry of id 1, annotations.0.image_id: an id of this"),
        (change(0, category_id=1e17), "the entry of id 1, annotations.0.category_id: an id of"),
        (lambda d: d["images"][1].update(id=-1e16), "images.1.id: an id of this size should be"),
        (change(0, image_id="seven"), "the entry of id 1, annotations.0.image_id: input should"),
        (lambda d: d["categories"].append({"id": 3, "name": "cat"}), "the category ids of"),
        (lambda d: d["categories"].append({"id": 4, "name": "dog"}), "the category names of"),
        (lambda d: d.update(categories=[]), "the categories of"),
        (lambda d: d.pop("annotations") and None, "annotations: field required"),
        (lambda _: [1, 2], "COCO json with images, categories and annotations"),
    ],
)
@pytest.mark.parametrize("part", ["train", "val"])
def test_what_contradicts_itself_is_refused_when_it_is_opened(spoil, part, spoiling, said):
    assert said in problem(spoil(part, spoiling))


def test_parts_with_other_categories_are_refused(spoil):
    folder = spoil("val", lambda document: document["categories"][0].update(name="wolf"))
    message = problem(folder)
    assert "the categories of annotations/instances_val.json" in message
    assert "different in 18" in message


@pytest.mark.parametrize("content", ["", "{", '{"images": '])
def test_text_that_is_no_json_is_refused(coco_folder, content):
    (coco_folder / "annotations" / "instances_val.json").write_text(content)
    assert "invalid JSON" in problem(coco_folder)


def test_a_missing_json_is_named_with_what_is_there(coco_folder):
    message = problem(coco_folder, CocoSpec(valid="valid"))
    assert "instances_valid.json" in message
    assert "instances_val.json" in message
    assert problem(None).startswith("--data is None")


def test_a_truncated_image_is_refused_when_the_data_are_opened(coco_folder):
    path = coco_folder / "images" / "val" / "1.png"
    path.write_bytes(path.read_bytes()[:-200])
    assert str(path) in problem(coco_folder)


def test_an_image_that_changes_later_is_refused_when_it_is_read(coco_folder):
    corpus = CocoSpec().read(coco_folder)
    (coco_folder / "images/val/0.png").unlink()
    with pytest.raises(DataError, match=r"images/val/0\.png"):
        operator.getitem(corpus.valid, 0)


def test_the_pattern_must_name_the_part():
    with pytest.raises(SpecError, match=r"a path with \{part\} in it"):
        CocoSpec(annotations="instances.json")


def test_a_spec_comes_back_from_json_with_its_identity():
    assert identity(CocoSpec.from_json(COCO2017.to_json()), 0) == identity(COCO2017, 0)


@pytest.mark.data
def test_real_images_are_read_whole(shared_data):
    with pytest.warns(DataWarning, match="train: 1 images without boxes"):
        corpus = CocoSpec().read(shared_data / "aquarium")
    assert [len(corpus.train), len(corpus.valid), len(corpus.test)] == [447, 127, 63]
    boxes = [
        sum(len(truth.labels) for truth in part.truths)
        for part in (corpus.train, corpus.valid, corpus.test)
    ]
    assert boxes == [3323, 909, 582]
    assert corpus.categories[:2] == ("fish", "jellyfish")
    mini = CocoSpec(test="val").read(shared_data / "mini" / "detection")
    assert all(len(mini.train[index].labels) for index in range(32))
