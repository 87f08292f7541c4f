import hashlib
import operator
import warnings

import pytest
import torch

from quatrain.specs import DataError, SpecError, identity
from quatrain.tasks.detection.coco import COCO2017, CocoSpec
from quatrain.tasks.vision import DataWarning


def refusal(folder, spec=None):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DataWarning)
        with pytest.raises(DataError) as error:
            (spec or CocoSpec()).read(folder)
    assert "\n" not in str(error.value)
    return error.value


WITHOUT_BOX = "categories without a box (crowd not counted): "


def change(index, **fields):
    """Change fields of one annotation."""
    return lambda document: document["annotations"][index].update(fields)


def test_boxes_become_corners_and_category_ids_become_labels(coco_folder):
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
    assert corpus.data_notes == {}


def test_the_ground_truth_is_the_content_of_the_file(coco_folder, modify):
    xywh = [0.1, 0.2, 0.7, 10.3]
    modify("test", change(0, bbox=xywh))
    truth = CocoSpec().read(coco_folder).test.ground_truths[0]
    assert truth.xywh[0].tolist() == xywh
    assert truth.areas.tolist() == [50.5, 50.5]


@pytest.mark.parametrize("first", [0, -1, 2**53, 1_700_000_000_000_000_001, 10**30])
def test_ids_of_any_size_are_kept_exactly(coco_folder, modify, first):
    def renumber(document):
        for entry in document["images"]:
            entry["id"] += first - 17
        for entry in document["annotations"]:
            entry.update(image_id=entry["image_id"] + first - 17, id=entry["id"] + first)

    modify("val", renumber)
    ground_truths = CocoSpec(test="val").read(coco_folder).test.ground_truths
    assert [truth.image_id for truth in ground_truths] == [first, first + 1]
    assert [truth.labels.tolist() for truth in ground_truths] == [[2, 1], [1]]


def test_a_missing_area_is_that_of_the_box(modify):
    folder = modify("test", lambda document: document["annotations"][0].pop("area") and None)
    assert CocoSpec().read(folder).test.ground_truths[0].areas[0] == 80


def test_ignored_boxes_become_crowd(modify):
    folder = modify("train", change(0, ignore=1))
    with pytest.warns(DataWarning):
        corpus = CocoSpec(keep_empty=True).read(folder)
    assert list(corpus.data_notes) == [f'train: {WITHOUT_BOX}"dog"']
    assert corpus.train[0].crowd.tolist() == [True, True]


def test_one_part_may_be_used_for_validation_and_test(coco_folder):
    corpus = CocoSpec(test="val").read(coco_folder)
    assert corpus.test is corpus.valid
    assert len(corpus.hashes) == 4


def test_a_part_for_training_and_test_is_clipped_for_training_only(modify):
    folder = modify("val", change(0, bbox=[25, 3, 10, 8]))
    with pytest.warns(DataWarning):
        corpus = CocoSpec(train="val", test="val").read(folder)
    assert corpus.train.ground_truths[0].xywh[0].tolist() == [25, 3, 5, 8]
    assert corpus.test.ground_truths[0].xywh[0].tolist() == [25, 3, 10, 8]


def test_hashes_are_those_of_the_annotations_and_the_images(coco_folder):
    before = CocoSpec().read(coco_folder).hashes
    name = "annotations/instances_val.json"
    assert before[name] == hashlib.sha256((coco_folder / name).read_bytes()).hexdigest()
    (coco_folder / "images/val/0.png").write_bytes((coco_folder / "images/val/1.png").read_bytes())
    after = CocoSpec().read(coco_folder).hashes
    assert {key for key in before if before[key] != after[key]} == {f"images of {name}"}


def test_test_hashes_are_those_of_the_test_part(coco_folder):
    first = CocoSpec(test="val").read(coco_folder)
    assert first.test_hashes.items() <= first.hashes.items()
    assert sorted(first.test_hashes) == [
        "annotations/instances_val.json",
        "images of annotations/instances_val.json",
    ]


BAD_BOXES = {
    "boxes without area, left out": [[5, 5, 0, 3], [5, 5, 3, 0], [5, 5, -2, 4], [1e6, 5, 1e-6, 4]],
    "boxes outside the image, left out": [[30, 5, 3, 3], [-5, 5, 5, 3], [5, 25, 3, 3]],
    "boxes thinner than 0.01 pixels, left out": [[5, 5, 1e-3, 3], [29.999999, 5, 5, 3]],
}


@pytest.mark.parametrize(("kind", "bbox"), [(k, b) for k, each in BAD_BOXES.items() for b in each])
def test_an_invalid_box_is_left_out_of_training_with_a_warning(modify, kind, bbox):
    folder = modify("train", change(2, bbox=bbox))
    with pytest.warns(DataWarning) as warned:
        corpus = CocoSpec().read(folder)
    assert corpus.train[0].labels.tolist() == [2]
    assert corpus.data_notes == {f"train: {kind}": 1}
    assert "1 box " in str(warned[0].message)
    assert "the first is annotation 3 of annotations/" in str(warned[0].message)


def test_a_negative_area_is_refused(modify):
    assert "annotations.2.area" in str(refusal(modify("test", change(2, area=-1.0))))


@pytest.mark.parametrize("bbox", [each[0] for each in BAD_BOXES.values()])
def test_an_invalid_box_is_refused_in_a_held_out_part(modify, bbox):
    error = refusal(modify("test", change(2, bbox=bbox)))
    assert error.field == "annotation 3 of annotations/instances_test.json"
    assert "has no area in its image of 30 x 20" in str(error)


def test_a_box_across_the_edge_is_clipped_for_training_with_a_warning(modify):
    folder = modify("train", change(0, bbox=[-4, 3, 10, 100]))
    with pytest.warns(DataWarning):
        corpus = CocoSpec().read(folder)
    assert corpus.data_notes == {"train: boxes beyond the edge of the image, clipped": 1}
    assert corpus.train[0].boxes[0].tolist() == [0, 3, 6, 20]


def test_a_box_across_the_edge_is_kept_in_a_held_out_part_with_a_warning(modify):
    folder = modify("test", change(0, bbox=[-4, 3, 10, 100]))
    with pytest.warns(DataWarning):
        corpus = CocoSpec().read(folder)
    assert corpus.data_notes == {"test: boxes beyond the edge of the image, kept": 1}
    assert corpus.test.ground_truths[0].xywh[0].tolist() == [-4, 3, 10, 100]


def test_rounding_errors_at_the_edge_are_clipped_without_a_warning(modify):
    folder = modify("train", change(0, bbox=[20, 3, 10.01, 8]))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert CocoSpec().read(folder).train[0].boxes[0].tolist() == [20, 3, 30, 11]


@pytest.mark.filterwarnings("ignore:train. 1 category without a box")
def test_images_without_boxes_are_left_out_of_training_by_default(modify):
    folder = modify("train", lambda document: document["annotations"].pop(0) and None)
    with pytest.warns(DataWarning, match=r"1 image without boxes.*0\.png"):
        corpus = CocoSpec().read(folder)
    assert [truth.image_id for truth in corpus.train.ground_truths] == [8]
    assert corpus.train[0].image_id == 8
    assert len(CocoSpec(keep_empty=True).read(folder).train) == 2


def test_images_without_boxes_are_scored(modify):
    folder = modify("test", lambda document: document["annotations"].pop(1) and None)
    with pytest.warns(DataWarning):
        corpus = CocoSpec().read(folder)
    assert list(corpus.data_notes) == [f'test: {WITHOUT_BOX}"car"']
    sample = corpus.test[1]
    assert sample.boxes.shape == (0, 4)
    assert sample.labels.shape == sample.crowd.shape == (0,)


def test_categories_without_a_box_give_a_warning(modify):
    more = [{"id": 50, "name": "cat"}, {"id": 51, "name": "emu"}]
    for part in ("train", "val", "test"):
        folder = modify(part, lambda document: document["categories"].extend(more))
    modify("val", change(2, category_id=50, iscrowd=0))
    with pytest.warns(DataWarning):
        corpus = CocoSpec().read(folder)
    assert corpus.data_notes == {
        f'train: {WITHOUT_BOX}"cat", "emu"': 2,
        f'val: {WITHOUT_BOX}"emu"': 1,
        f'test: {WITHOUT_BOX}"cat", "emu"': 2,
    }


@pytest.mark.parametrize(
    ("bbox", "iscrowd", "reason"),
    [
        ([15, 15, -2, -2], 0, "3 boxes without area, left out"),
        ([100, 5, 3, 3], 0, "3 boxes outside the image, left out"),
        ([5, 5, 1e-3, 3], 0, "3 boxes thinner than 0.01 pixels, left out"),
        ([5, 5, 3, 3], 1, "3 marked as crowd"),
    ],
)
def test_a_part_without_a_usable_box_is_refused_with_the_reasons(modify, bbox, iscrowd, reason):
    def invalidate(document):
        for entry in document["annotations"]:
            entry.update(bbox=bbox, iscrowd=iscrowd)

    error = refusal(modify("train", invalidate))
    assert error.field == "annotations/instances_train.json"
    assert "has 2 images with 3 boxes, none usable" in str(error)
    assert reason in str(error)


def boxed(bboxes):
    """Replace the boxes of all annotations."""

    def change_all(document):
        for entry, bbox in zip(document["annotations"], bboxes, strict=True):
            entry.update(bbox=bbox, iscrowd=0)

    return change_all


UNITS = {
    "boxes within [0, 1], probably": [[0.1, 0.2, 0.5, 0.4], [0, 0, 1, 1], [0.3, 0.3, 0.7, 0.7]],
    "boxes thinner than a pixel": [[3, 4, 0.5, 9], [7, 8, 9, 0.9], [4, 5, 0.2, 0.2]],
    "boxes outside the image as x y w h": [[12, 3, 25, 11], [20, 10, 30, 20], [2, 11, 30, 17]],
}


@pytest.mark.parametrize("part", ["train", "test"])
@pytest.mark.parametrize(("kind", "bboxes"), list(UNITS.items()))
def test_boxes_in_another_unit_or_order_give_a_warning(modify, part, kind, bboxes):
    folder = modify(part, boxed(bboxes))
    with pytest.warns(DataWarning):
        corpus = CocoSpec().read(folder)
    assert [n for name, n in corpus.data_notes.items() if f"{part}: {kind}" in name] == [3]


@pytest.mark.parametrize("bboxes", list(UNITS.values()))
@pytest.mark.filterwarnings("ignore:.*beyond the edge")
def test_a_minority_of_such_boxes_gives_no_warning(modify, bboxes):
    folder = modify("test", boxed([bboxes[0], [2, 3, 10, 8], [15, 5, 4, 4]]))
    data_notes = CocoSpec().read(folder).data_notes
    assert not any(kind in name for name in data_notes for kind in UNITS)


@pytest.mark.parametrize("part", ["train", "test"])
def test_a_part_without_any_box_is_refused(modify, part):
    folder = modify(part, lambda document: document.update(annotations=[]))
    assert refusal(folder).field == f"annotations/instances_{part}.json"


@pytest.mark.parametrize(
    ("edit", "place"),
    [
        (change(0, category_id=5), "has the unknown category_id 5"),
        (change(0, image_id=99), "has the unknown image_id 99"),
        (change(1, id=1), "1 is more than once among the annotation ids"),
        (change(0, bbox=[1, 2, 3]), "annotations.0.bbox"),
        (change(0, bbox=[1, 2, 3, float("nan")]), "annotations.0.bbox.3"),
        (change(0, bbox=None), "annotations.0.bbox"),
        (change(0, iscrowd=5), "annotations.0.iscrowd"),
        (lambda d: d["images"][1].update(id=d["images"][0]["id"]), "among the image ids"),
        (lambda d: d["images"][1].update(file_name="0.png"), "among the images of annotations/"),
        (lambda d: d["images"][1].update(width=0), "images.1.width"),
        (lambda d: d["images"][1].update(width=31), "is 30 x 20 pixels, but 31 x 20"),
        (lambda d: d["images"][0].update(width=20, height=30), "rotate"),
        (lambda d: d["images"][1].update(file_name="9.png"), "1 of 2 files"),
        (lambda d: d["images"][0].update(file_name="0\0.png"), "the file name of image"),
        (lambda d: d["images"][0].update(file_name="0\n.png"), "the file name of image"),
        (change(0, id=float(2**53)), "annotations.0.id"),
        (change(0, image_id=1.7e18), "the entry of id 1, annotations.0.image_id"),
        (change(0, category_id=1e17), "the entry of id 1, annotations.0.category_id"),
        (lambda d: d["images"][1].update(id=-1e16), "images.1.id"),
        (change(0, image_id="seven"), "the entry of id 1, annotations.0.image_id"),
        (lambda d: d["categories"].append({"id": 3, "name": "cat"}), "among the category ids"),
        (lambda d: d["categories"].append({"id": 4, "name": "dog"}), "among the category names"),
        (lambda d: d.update(categories=[]), "has no categories"),
        (lambda d: d.pop("annotations") and None, "annotations: "),
        (lambda _: [1, 2], "annotations/instances_"),
    ],
)
@pytest.mark.parametrize("part", ["train", "val"])
def test_inconsistent_annotations_are_refused(modify, part, edit, place):
    error = refusal(modify(part, edit))
    assert place in str(error)


def test_parts_with_other_categories_are_refused(modify):
    folder = modify("val", lambda document: document["categories"][0].update(name="wolf"))
    error = refusal(folder)
    assert error.field == "annotations/instances_val.json"
    assert "differ in 18" in str(error)


@pytest.mark.parametrize("content", ["", "{", '{"images": '])
def test_invalid_json_is_refused(coco_folder, content):
    (coco_folder / "annotations" / "instances_val.json").write_text(content)
    assert refusal(coco_folder).field == "annotations/instances_val.json"


def test_a_missing_file_is_refused_with_the_names_in_its_folder(coco_folder):
    error = refusal(coco_folder, CocoSpec(valid="valid"))
    assert error.field.endswith("instances_valid.json")
    assert "instances_val.json" in str(error)
    assert refusal(None).field == "--data"


def test_a_truncated_image_is_refused_when_the_data_are_opened(coco_folder):
    path = coco_folder / "images" / "val" / "1.png"
    path.write_bytes(path.read_bytes()[:-200])
    assert refusal(coco_folder).field == str(path)


def test_an_image_removed_later_is_refused_when_read(coco_folder):
    corpus = CocoSpec().read(coco_folder)
    (coco_folder / "images/val/0.png").unlink()
    with pytest.raises(DataError) as error:
        operator.getitem(corpus.valid, 0)
    assert error.value.field.endswith("images/val/0.png")


def test_the_pattern_must_contain_the_part():
    with pytest.raises(SpecError) as error:
        CocoSpec(annotations="instances.json")
    assert error.value.field == "CocoSpec.annotations"


def test_a_spec_keeps_its_identity_in_json():
    assert identity(CocoSpec.from_json(COCO2017.to_json()), 0) == identity(COCO2017, 0)


@pytest.mark.data
@pytest.mark.slow
def test_real_images_are_read(shared_data):
    with pytest.warns(DataWarning, match="1 image without boxes"):
        corpus = CocoSpec().read(shared_data / "aquarium")
    assert [len(corpus.train), len(corpus.valid), len(corpus.test)] == [447, 127, 63]
    boxes = [
        sum(len(truth.labels) for truth in part.ground_truths)
        for part in (corpus.train, corpus.valid, corpus.test)
    ]
    assert boxes == [3323, 909, 582]
    assert corpus.categories[:2] == ("fish", "jellyfish")
    mini = CocoSpec(test="val").read(shared_data / "mini" / "detection")
    assert all(len(mini.train[index].labels) for index in range(32))
