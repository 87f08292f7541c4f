import numpy as np
import pytest
import torch

from quatrain.specs import InputError
from quatrain.tasks.segmentation.corpus import IGNORE, SegmentationClass, SegmentationSample
from quatrain.tasks.segmentation.pictures import DARK, object_pixel, segmentation_picture
from quatrain.tasks.vision.panels import GAP

CLASSES = (
    SegmentationClass("sky", (10, 100, 200)),
    SegmentationClass("road", (128, 64, 128)),
    SegmentationClass("car", (250, 0, 0)),
)
TOP, FACTOR = 26, 66


def make_sample(label):
    label = torch.tensor(label)
    image = torch.full((3, *label.shape), 77, dtype=torch.uint8)
    return SegmentationSample(image, label, 5)


LABEL = [[0, 0, 1, 1, 2, IGNORE], [0, 0, 1, 1, 2, 2]]


def panels(picture, height=2, width=6):
    """Image, truth and prediction, one value a pixel."""
    pixels = np.asarray(picture)
    room = (picture.width - 4 * GAP) // 3
    middles = [
        pixels[TOP + FACTOR // 2 :: FACTOR, GAP + i * (room + GAP) + FACTOR // 2 :: FACTOR]
        for i in range(3)
    ]
    return [middle[:height, :width].tolist() for middle in middles]


def test_each_pixel_has_the_colour_of_its_class_and_ignored_ones_are_dark():
    predicted = torch.tensor([[0, 1, 1, 1, 0, 2], [2, 0, 1, 1, 2, 2]])
    image, truth, prediction = panels(segmentation_picture(make_sample(LABEL), predicted, CLASSES))
    sky, road, car = (list(each.color) for each in CLASSES)
    assert image == [[[77, 77, 77]] * 6] * 2
    assert truth == [[sky, sky, road, road, car, list(DARK)], [sky, sky, road, road, car, car]]
    assert prediction == [
        [sky, road, road, road, sky, list(DARK)],
        [car, sky, road, road, car, car],
    ]


def test_the_legend_names_the_classes_that_occur():
    def colors_below(label, predicted):
        picture = segmentation_picture(make_sample(label), torch.tensor(predicted), CLASSES)
        below = np.asarray(picture)[TOP + len(label) * 100 :]
        return {tuple(color) for color in below.reshape(-1, 3).tolist()}

    square = [[0, 0, 0, 0]] * 4
    assert CLASSES[0].color in colors_below(square, square)
    assert not colors_below(square, square) & {CLASSES[1].color, CLASSES[2].color, DARK}
    found = colors_below([[0, 0, 0, IGNORE]] * 4, [[0, 2, 0, 1]] * 4)
    assert {CLASSES[0].color, CLASSES[2].color, DARK} <= found
    assert CLASSES[1].color not in found


def test_a_large_image_is_made_smaller_without_mixing_classes():
    label = torch.randint(3, (300, 900), generator=torch.Generator().manual_seed(0))
    sample = SegmentationSample(torch.zeros(3, 300, 900, dtype=torch.uint8), label, 0)
    picture = segmentation_picture(sample, label, CLASSES)
    truth = np.asarray(picture)[TOP : TOP + 133, 400 + 2 * GAP : 800 + 2 * GAP]
    assert {tuple(color) for color in truth.reshape(-1, 3).tolist()} == {
        each.color for each in CLASSES
    }


def test_a_picture_without_any_scored_pixel_is_drawn():
    picture = segmentation_picture(
        make_sample([[IGNORE] * 6] * 2), torch.zeros(2, 6, dtype=torch.int64), CLASSES
    )
    assert panels(picture)[2] == [[list(DARK)] * 6] * 2


@pytest.mark.parametrize(
    ("predicted", "told"), [([[0, 1]], "shape"), ([[3] * 6] * 2, "0 to 2"), ([[-1] * 6] * 2, "-1")]
)
def test_a_prediction_that_does_not_fit_is_told(predicted, told):
    with pytest.raises(InputError, match=told):
        segmentation_picture(make_sample(LABEL), torch.tensor(predicted), CLASSES)


def test_a_label_without_a_class_is_told():
    with pytest.raises(InputError, match="the label of image 5"):
        segmentation_picture(make_sample([[3, 0]]), torch.zeros(1, 2, dtype=torch.int64), CLASSES)


def test_the_pixel_of_an_object_lies_deep_in_the_largest_region_before_the_commonest_class():
    label = torch.zeros(12, 20, dtype=torch.int64)
    label[1:4, 1:4] = 2
    label[5:12, 11:18] = 1  # cut by the lower edge
    label[0:2, 8:20] = 1  # another region of the same class
    assert object_pixel(label) == (8, 14)
    label[5:12, 11:18] = IGNORE
    assert object_pixel(label)[0] in {0, 1}


@pytest.mark.parametrize("value", [0, IGNORE])
def test_where_there_is_one_class_only_it_is_the_centre(value):
    assert object_pixel(torch.full((4, 9), value)) == (2, 4)


def test_a_ring_is_not_asked_in_its_hole():
    label = torch.zeros(30, 30, dtype=torch.int64)
    label[5:25, 5:25] = 1
    label[8:22, 8:22] = 0
    assert label[object_pixel(label)] == 1


@pytest.mark.parametrize("kind", [torch.uint8, torch.int16, torch.int32])
def test_predictions_of_every_integer_type_are_drawn_alike(kind):
    predicted = torch.tensor([[0, 1, 1, 1, 0, 2], [2, 0, 1, 1, 2, 2]])
    wanted = segmentation_picture(make_sample(LABEL), predicted, CLASSES)
    found = segmentation_picture(make_sample(LABEL), predicted.to(kind), CLASSES)
    assert np.array_equal(np.asarray(found), np.asarray(wanted))


@pytest.mark.parametrize("kind", [torch.float32, torch.bool])
def test_predictions_of_no_integer_type_are_not_drawn(kind):
    with pytest.raises(InputError, match=f'the prediction of image 5 is "{kind}"'):
        segmentation_picture(make_sample(LABEL), torch.tensor(LABEL).to(kind), CLASSES)
