import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from quatrain.specs import DataError
from quatrain.tasks.detection.assemble import Annotations, Box, ImageEntry, assemble, check_boxes
from quatrain.tasks.detection.corpus import corners
from quatrain.tasks.vision import DataWarnings, ImageSize

numbers = st.floats(-60, 60, width=32)
rows = st.lists(st.tuples(numbers, numbers, numbers, numbers), max_size=8)


def entries(xywh):
    return [Box(1, tuple(row), 1, False, 1.0, f"box {n}") for n, row in enumerate(xywh)]


@given(rows)
def test_training_boxes_have_an_area_inside_their_image(xywh):
    sizes = np.tile([[20.0, 30.0]], (len(xywh), 1))
    kept, clipped = check_boxes(entries(xywh), sizes, training=True, problems=DataWarnings())
    ends = corners(clipped[kept])
    assert (ends[:, 2:] - ends[:, :2] >= 0.01).all()
    assert (ends >= 0).all()
    assert (ends[:, 2:] <= [30, 20]).all()


@given(rows)
def test_held_out_boxes_are_unchanged_or_refused(xywh):
    sizes = np.tile([[20.0, 30.0]], (len(xywh), 1))
    valid, _ = check_boxes(entries(xywh), sizes, training=True, problems=DataWarnings())
    if valid.all():
        kept, same = check_boxes(entries(xywh), sizes, training=False, problems=DataWarnings())
        assert kept.all()
        assert np.array_equal(same, np.array(xywh).reshape(-1, 4))
    else:
        with pytest.raises(DataError) as error:
            check_boxes(entries(xywh), sizes, training=False, problems=DataWarnings())
        assert f"all {(~valid).sum()} such" in str(error.value)


def test_boxes_are_assigned_to_their_images_in_the_order_of_the_file(tmp_path):
    images = []
    for number in (5, 2, 9):
        path = tmp_path / f"{number}.png"
        Image.fromarray(np.full((10, 10), number, np.uint8)).save(path)
        images.append(ImageEntry(number, path, ImageSize(10, 10), "part.json"))
    image_ids = (9, 5, 9, 2, 5)
    boxes = [Box(i, (n, n, 1, 1), n + 1, False, 1.0, f"box {n}") for n, i in enumerate(image_ids)]
    annotations = Annotations("a list", {"list": "ab"}, images, boxes, tuple("abcde"))
    checked = assemble(annotations, "train", training=True, keep_empty=False)
    assert list(checked.hashes) == ["list", "images of a list"]
    part = checked.part
    assert [sample.image_id for sample in part] == [5, 2, 9]
    assert [sample.labels.tolist() for sample in part] == [[2, 5], [4], [1, 3]]
    assert [int(sample.image[0, 0, 0]) for sample in part] == [5, 2, 9]
