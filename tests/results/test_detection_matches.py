from dataclasses import replace

import numpy as np
import pytest

from quatrain.results.detection_matches import DetectionMatches

ALL = 0b1111111111


def make(rows, objects, names=("dog", "cat"), images=2):
    """Rows of (image, category, matched, ignored, tied), and of (image, category) of objects."""
    columns = np.array(rows, dtype=np.int64).reshape(-1, 5).T
    places = np.array(objects, dtype=np.int32).reshape(-1, 2).T
    return DetectionMatches(
        np.arange(images), names, *places, *columns[:2].astype(np.int32),
        *columns[2:4].astype(np.uint16), columns[4].astype(np.uint8),
    )  # fmt: skip


def one_of_two():
    """A dog in each image: the first is found after a wrong detection, the second is missed."""
    return make([(1, 0, 0, 0, 0), (0, 0, ALL, 0, 0)], [(0, 0), (1, 0)])


def test_ap_is_the_mean_precision_at_101_recalls():
    found = one_of_two().scores("ap", np.array([[1.0, 1.0], [2.0, 0.0], [0.0, 2.0], [1.0, 2.0]]))
    assert found == pytest.approx([100 * 51 / 101 / 2, 100, 0, 100 * 34 / 101 / 3])


def test_a_recall_that_equals_a_limit_reaches_it():
    """29 of 100 objects: 0.29 is the 30th of the recalls 0, 0.01, ..."""
    rows = [(number, 0, ALL, 0, 0) for number in range(29)]
    matches = make(rows, [(number, 0) for number in range(100)], images=100)
    assert matches.scores("ap", np.ones((1, 100))) == pytest.approx([100 * 30 / 101])


def test_a_threshold_has_its_own_matches():
    matches = make([(0, 0, 0b0000111111, 0, 0)], [(0, 0)])
    once = np.ones((1, 2))
    assert matches.scores("ap50", once) == matches.scores("ap75", once) == [100]
    assert matches.scores("ap", once) == pytest.approx([60])


def test_ignored_detections_are_neither_right_nor_wrong():
    matches = make([(1, 0, 0, 1, 0), (0, 0, ALL, 0, 0)], [(0, 0)])
    assert matches.scores("ap50", np.ones((1, 2))) == pytest.approx([100])
    assert matches.scores("ap75", np.ones((1, 2))) == pytest.approx([50])


def test_categories_without_objects_do_not_count():
    matches = make([(0, 1, ALL, 0, 0)], [(0, 1), (1, 0)])
    found = matches.scores("ap", np.array([[1.0, 1.0], [1.0, 0.0], [0.0, 0.0]]))
    assert found[:2] == pytest.approx([50, 100])
    assert np.isnan(found[2])
    dogs = matches.scores("ap_of_dog", np.array([[1.0, 1.0], [1.0, 0.0]]))
    assert dogs[0] == 0
    assert np.isnan(dogs[1])


def test_copies_of_tied_detections_follow_each_other_as_images_do():
    """Right, wrong, right, wrong: the second object is found at a precision of 2 in 3."""
    matches = make([(0, 0, ALL, 0, 0), (0, 0, 0, 0, 1)], [(0, 0)])
    found = matches.scores("ap", np.array([[2.0, 0.0]]))
    assert found == pytest.approx([100 * (51 + 50 * 2 / 3) / 101])
    untied = replace(matches, tied=np.zeros(2, np.uint8))
    assert untied.scores("ap", np.array([[2.0, 0.0]])) == pytest.approx([100])


def test_resamples_do_not_depend_on_how_many_are_computed_at_once(monkeypatch):
    times = np.random.default_rng(0).integers(0, 4, (9, 2)).astype(float)
    expected = one_of_two().scores("ap", times)
    monkeypatch.setattr("quatrain.results.detection_matches._LARGEST", 4)
    assert one_of_two().scores("ap", times).tolist() == pytest.approx(expected, nan_ok=True)


def test_the_metrics_are_those_of_objects_of_all_sizes():
    names = ("ap", "ap50", "ap75", "ap_of_cat", "ap_of_cow", "ap_small", "ar100", "miou")
    known = [name for name in names if one_of_two().knows(name)]
    assert known == ["ap", "ap50", "ap75", "ap_of_cat"]


@pytest.mark.parametrize(
    "change",
    [
        {"image": np.array([0, 2])},
        {"image": np.array([-1, 0])},
        {"category": np.array([1, 0])},
        {"category": np.array([0, 2])},
        {"matched": np.array([0.5, 1.0])},
        {"matched": np.array([1])},
        {"object_image": np.array([0, 7])},
        {"object_category": np.array([0])},
        {"image_ids": np.zeros((2, 2), int)},
        {"image_ids": np.zeros(0, int)},
    ],
    ids=str,
)
def test_other_shapes_or_values_are_not_valid(change):
    assert one_of_two().is_valid()
    assert not replace(one_of_two(), **change).is_valid()
