import numpy as np
import pytest

from quatrain.specs import InputError
from quatrain.tasks.detection.found import Found, check_labels, checked, image_index

BOXES = [[1, 2, 30, 40], [5, 6, 7, 8]]


def refused(boxes=BOXES, scores=(1, 0), labels=(1, 3)):
    found = Found(np.asarray(boxes), np.asarray(scores), np.asarray(labels))
    with pytest.raises(InputError) as caught:
        checked(found, "image 7 (a.jpg)", 3)
    assert "image 7 (a.jpg)" in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("dtype", ["u1", "i2", "u4", "i8", "f2", "f4", "f8"])
def test_any_type_that_holds_the_numbers_is_converted_and_none_of_them_changes(dtype):
    values = (np.array(each, dtype) for each in (BOXES, [1, 0], [1, 3]))
    boxes, scores, labels = checked(Found(*values), "image 7", 3)
    assert boxes.tolist() == BOXES
    assert scores.tolist() == [1, 0]
    assert labels.tolist() == [1, 3]
    assert [each.dtype for each in (boxes, scores, labels)] == ["f8", "f8", "i8"]


def test_sides_of_boxes_in_bytes_do_not_wrap_around():
    boxes = np.array([[200, 10, 100, 20]], "u1")
    assert "ending before it begins" in refused(boxes, [1], [1])


@pytest.mark.parametrize("dtype", ["?", "c8", "U1", "O"])
def test_other_types_are_refused(dtype):
    message = refused(labels=np.ones(2).astype(dtype))
    assert "integers or floating-point numbers" in message
    assert "the boxes of" in refused(boxes=np.ones((2, 4)).astype(dtype))
    assert "the scores of" in refused(scores=np.ones(2).astype(dtype))


def test_labels_that_are_not_whole_are_refused():
    assert "is 2.5, expected whole numbers" in refused(labels=[1, 2.5])
    assert "whole numbers" in refused(labels=[1, np.nan])
    assert "1 to inf" in refused(labels=[1, np.inf])


def test_labels_outside_the_categories_are_refused():
    assert '"0 to 3", expected 1 to 3' in refused(labels=[0, 3])
    assert '"1 to 4", expected 1 to 3' in refused(labels=[1, 4])
    assert check_labels(np.zeros(0, np.float32), "image 7", 3).dtype == np.int64


def test_shapes_that_do_not_fit_are_refused():
    assert "(2, 4), (1,), (2,)" in refused(scores=[1])
    assert "(4,), (2,), (2,)" in refused(boxes=[1, 2, 3, 4])
    assert "(2, 4), (), (2,)" in refused(scores=0.5)


def test_an_image_id_is_an_integer_of_any_size_and_never_a_float():
    assert image_index(np.int64(2**60 + 1)) == 2**60 + 1
    assert image_index(-(10**30)) == -(10**30)
    for wrong in (7.0, float(2**53), "7", None):
        with pytest.raises(InputError, match=r"image_id is .* expected an integer"):
            image_index(wrong)
