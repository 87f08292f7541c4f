import numpy as np
import pytest

from quatrain.results.pixel_counts import PixelCounts

NAMES = ("sky", "road", "car")


def make(counts, names=NAMES):
    counts = np.array(counts)
    return PixelCounts(np.arange(len(counts)), names, counts)


def two_images():
    """The first image has sky and road, the second sky only; car is in neither."""
    return make([[[3, 2, 0], [4, 4, 0], [5, 3, 0]], [[8, 0, 0], [8, 1, 0], [9, 0, 0]]])


def test_each_image_once_gives_the_scores_of_the_test_set():
    counts, times = two_images(), np.ones((1, 2))
    sky, road = 100 * 11 / 15, 100 * 2 / 6
    assert counts.scores("iou_sky", times) == pytest.approx([sky])
    assert counts.scores("miou", times) == pytest.approx([(sky + road) / 2])
    assert counts.scores("pixel_accuracy", times) == pytest.approx([100 * 13 / 17])
    assert np.isnan(counts.scores("iou_car", times)).all()


def test_a_resample_is_over_the_classes_that_it_has():
    found = make([[[1, 0], [1, 0], [1, 0]], [[0, 1], [1, 1], [0, 2]]], ("a", "b")).scores(
        "miou", np.array([[2.0, 0.0], [1.0, 1.0], [0.0, 0.0]])
    )
    assert found[:2] == pytest.approx([100, 50])
    assert np.isnan(found[2])


def test_the_metrics_are_those_of_the_classes():
    known = ("miou", "pixel_accuracy", "iou_sky", "iou_road", "iou_car", "iou_tree", "ap")
    assert [name for name in known if not two_images().knows(name)] == ["iou_tree", "ap"]


@pytest.mark.parametrize(
    "counts",
    [
        make(np.zeros((0, 3, 3), int)),
        make(np.zeros((2, 3, 4), int)),
        make(np.full((2, 3, 3), -1)),
        make(np.ones((2, 3, 3))),
        PixelCounts(np.arange(3), NAMES, np.ones((2, 3, 3), int)),
        PixelCounts(np.array(0), (), np.ones((2, 3, 0), int)),
    ],
    ids=["no image", "classes", "negative", "floats", "images", "no class"],
)
def test_other_shapes_or_values_are_not_valid(counts):
    assert not counts.is_valid()
    assert two_images().is_valid()
