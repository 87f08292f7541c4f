import numpy as np
import pytest
import torch

from quatrain.specs import DataError
from quatrain.tasks.detection.corpus import DetectionPart, GroundTruth, corners


def truth(height=4, width=6):
    return GroundTruth(
        3,
        "a.jpg",
        height,
        width,
        np.array([[1.5, 2, 3, 1]]),
        np.array([1]),
        np.array([False]),
        np.array([3.0]),
    )


def test_corners_add_the_sides():
    assert corners(np.array([[1.5, 2, 3, 1]])).tolist() == [[1.5, 2, 4.5, 3]]
    assert corners(np.zeros((0, 4))).shape == (0, 4)


def test_a_part_reads_pixels_with_their_annotations():
    part = DetectionPart([truth()], lambda _: torch.zeros(3, 4, 6, dtype=torch.uint8))
    assert len(part) == 1
    assert part[0].boxes.tolist() == [[1.5, 2, 4.5, 3]]
    assert len(list(part)) == 1
    assert part.truths is part.ground_truths


def test_an_image_of_changed_size_is_refused():
    part = DetectionPart([truth(height=5)], lambda _: torch.zeros(3, 4, 6, dtype=torch.uint8))
    with pytest.raises(DataError) as error:
        next(iter(part))
    assert error.value.field == "a.jpg"
    assert "is 6 x 4 pixels now and its annotation 6 x 5" in str(error.value)
