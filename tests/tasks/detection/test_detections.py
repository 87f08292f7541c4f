import numpy as np
import pytest

from quatrain.specs import InputError
from quatrain.tasks.detection.detections import (
    Detections,
    check_detections,
    check_labels,
    image_index,
)

BOXES = [[1, 2, 30, 40], [5, 6, 7, 8]]


def refusal(boxes=BOXES, scores=(1, 0), labels=(1, 3)):
    detections = Detections(np.asarray(boxes), np.asarray(scores), np.asarray(labels))
    with pytest.raises(InputError) as error:
        check_detections(detections, "image 7 (a.jpg)", 3)
    assert "image 7 (a.jpg)" in str(error.value)
    return error.value


@pytest.mark.parametrize("dtype", ["u1", "i2", "u4", "i8", "f2", "f4", "f8"])
def test_all_integer_and_floating_types_are_converted_exactly(dtype):
    values = (np.array(each, dtype) for each in (BOXES, [1, 0], [1, 3]))
    boxes, scores, labels = check_detections(Detections(*values), "image 7", 3)
    assert boxes.tolist() == BOXES
    assert scores.tolist() == [1, 0]
    assert labels.tolist() == [1, 3]
    assert [each.dtype for each in (boxes, scores, labels)] == ["f8", "f8", "i8"]


def test_boxes_in_uint8_do_not_wrap_around():
    boxes = np.array([[200, 10, 100, 20]], "u1")
    assert "ends before it begins" in str(refusal(boxes, [1], [1]))


@pytest.mark.parametrize("dtype", ["?", "c8", "U1", "O"])
def test_other_types_are_refused(dtype):
    assert refusal(labels=np.ones(2).astype(dtype)).field == "labels"
    assert refusal(boxes=np.ones((2, 4)).astype(dtype)).field == "boxes"
    assert refusal(scores=np.ones(2).astype(dtype)).field == "scores"


def test_fractional_labels_are_refused():
    assert "the label 2.5" in str(refusal(labels=[1, 2.5]))
    assert "the label nan" in str(refusal(labels=[1, np.nan]))
    assert "1 to inf" in str(refusal(labels=[1, np.inf]))


def test_labels_outside_the_categories_are_refused():
    assert "are 0 to 3" in str(refusal(labels=[0, 3]))
    assert "pass the numbers of categories, 1 to 3" in str(refusal(labels=[1, 4]))
    assert check_labels(np.zeros(0, np.float32), "image 7", 3).dtype == np.int64


def test_inconsistent_shapes_are_refused():
    assert "((2, 4), (1,), (2,))" in str(refusal(scores=[1]))
    assert "((4,), (2,), (2,))" in str(refusal(boxes=[1, 2, 3, 4]))
    assert "((2, 4), (), (2,))" in str(refusal(scores=0.5))


def test_an_image_id_is_an_integer_of_any_size_and_never_a_float():
    assert image_index(np.int64(2**60 + 1)) == 2**60 + 1
    assert image_index(-(10**30)) == -(10**30)
    for wrong in (7.0, float(2**53), "7", None):
        with pytest.raises(InputError) as error:
            image_index(wrong)
        assert error.value.field == "image_id"
