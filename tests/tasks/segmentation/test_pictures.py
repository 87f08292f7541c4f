import numpy as np
import pytest
import torch
from PIL import Image

from quatrain.specs import DataError, InputError
from quatrain.tasks.segmentation import pictures
from quatrain.tasks.segmentation.corpus import IGNORE, SegmentationClass, SegmentationSample
from quatrain.tasks.segmentation.pictures import (
    IGNORED_COLOR,
    object_pixel,
    segmentation_picture,
)

CLASSES = (
    SegmentationClass("sky", (10, 100, 200)),
    SegmentationClass("road", (128, 64, 128)),
    SegmentationClass("car", (250, 0, 0)),
)
LABEL = [[0, 0, 1, 1, 2, IGNORE], [0, 0, 1, 1, 2, 2]]
PREDICTION = [[0, 1, 1, 1, 0, 2], [2, 0, 1, 1, 2, 2]]


def make_sample(label):
    label = torch.tensor(label)
    image = torch.full((3, *label.shape), 77, dtype=torch.uint8)
    return SegmentationSample(image, label, 5)


@pytest.fixture
def draw(monkeypatch):
    """Call `segmentation_picture` and return its panels and its legend."""

    def drawn(label, prediction):
        calls, picture = [], Image.new("RGB", (1, 1))
        monkeypatch.setattr(
            pictures, "draw_panels", lambda panels, **o: calls.append((panels, o)) or picture
        )
        segmentation_picture(make_sample(label), prediction, CLASSES)
        panels, options = calls[0]
        return panels, options["legend"]

    return drawn


@pytest.mark.parametrize("dtype", [torch.int64, torch.uint8, torch.int16, torch.int32])
def test_pixels_have_the_colour_of_their_class_and_ignored_ones_are_dark(dtype, draw):
    (image, truth, prediction), legend = draw(LABEL, torch.tensor(PREDICTION).to(dtype))
    sky, road, car = (list(each.color) for each in CLASSES)
    dark = list(IGNORED_COLOR)
    assert image.image.tolist() == [[[77, 77, 77]] * 6] * 2
    assert truth.image.tolist() == [
        [sky, sky, road, road, car, dark],
        [sky, sky, road, road, car, car],
    ]
    assert prediction.image.tolist() == [
        [sky, road, road, road, sky, dark],
        [car, sky, road, road, car, car],
    ]
    assert prediction.caption == "prediction: 72.7 % of pixels correct"
    assert legend == {each.name: each.color for each in CLASSES} | {"ignored": IGNORED_COLOR}


def test_the_legend_has_the_classes_that_occur(draw):
    square = [[0, 0, 0, 0]] * 4
    assert draw(square, torch.tensor(square))[1] == {"sky": CLASSES[0].color}
    _, legend = draw([[0, 0, 0, IGNORE]] * 4, torch.tensor([[0, 2, 0, 1]] * 4))
    assert list(legend) == ["sky", "car", "ignored"]


def test_reducing_a_large_image_does_not_mix_classes():
    label = torch.randint(3, (300, 900), generator=torch.Generator().manual_seed(0))
    sample = SegmentationSample(torch.zeros(3, 300, 900, dtype=torch.uint8), label, 0)
    picture = np.asarray(segmentation_picture(sample, label, CLASSES))
    middle = picture[60:120, 460:800].reshape(-1, 3).tolist()
    assert {tuple(color) for color in middle} == {each.color for each in CLASSES}


def test_an_image_of_ignored_pixels_is_drawn(draw):
    panels, _ = draw([[IGNORE] * 6] * 2, torch.zeros(2, 6, dtype=torch.int64))
    assert panels[2].image.tolist() == [[list(IGNORED_COLOR)] * 6] * 2
    assert panels[2].caption == "prediction: all pixels ignored"


@pytest.mark.parametrize("prediction", [[[0, 1]], [[3] * 6] * 2, [[-1] * 6] * 2, [[0.5] * 6] * 2])
def test_an_invalid_prediction_is_refused(prediction):
    with pytest.raises(InputError) as error:
        segmentation_picture(make_sample(LABEL), torch.tensor(prediction), CLASSES)
    assert "prediction of image 5" in str(error.value)


def test_a_label_without_a_class_is_refused():
    with pytest.raises(DataError) as error:
        segmentation_picture(make_sample([[3, 0]]), torch.zeros(1, 2, dtype=torch.int64), CLASSES)
    assert error.value.field == "label"


def test_the_pixel_of_an_object_is_far_from_the_border_of_the_largest_region():
    label = torch.zeros(12, 20, dtype=torch.int64)
    label[1:4, 1:4] = 2
    label[5:12, 11:18] = 1  # cut by the lower edge
    label[0:2, 8:20] = 1  # another region of the same class
    assert object_pixel(label) == (8, 14)
    label[5:12, 11:18] = IGNORE
    assert object_pixel(label)[0] in {0, 1}


@pytest.mark.parametrize("value", [0, IGNORE])
def test_with_one_class_the_pixel_is_the_centre(value):
    assert object_pixel(torch.full((4, 9), value)) == (2, 4)


def test_the_pixel_of_a_ring_is_not_in_its_hole():
    label = torch.zeros(30, 30, dtype=torch.int64)
    label[5:25, 5:25] = 1
    label[8:22, 8:22] = 0
    assert label[object_pixel(label)] == 1
