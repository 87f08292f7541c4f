import itertools

import numpy as np
import pytest
import torch

from quatrain.specs import InputError
from quatrain.tasks.detection.corpus import DetectionSample
from quatrain.tasks.detection.metric import Found
from quatrain.tasks.detection.pictures import (
    CROWD,
    MOST_TAGS,
    category_color,
    detection_picture,
    largest_object,
)
from quatrain.tasks.digit_scenes import DigitScenesSpec
from quatrain.tasks.vision.panels import GAP, fitted

CATEGORIES = ("car", "dog", "cat")
BOXES = [[5.0, 20, 25, 40], [40, 30, 60, 50]]
TOP = 26
"""Where panels begin, below their captions."""


def make_sample(boxes=BOXES, labels=(1, 3), crowd=None, height=50, width=100):
    return DetectionSample(
        image=torch.full((3, height, width), 128, dtype=torch.uint8),
        boxes=torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4),
        labels=torch.tensor(labels, dtype=torch.int64),
        crowd=torch.tensor(crowd or [False] * len(labels), dtype=torch.bool),
        image_id=7,
    )


def make_found(boxes=(), scores=(), labels=()):
    return Found(
        np.array(boxes, dtype=np.float64).reshape(-1, 4),
        np.array(scores, dtype=np.float64),
        np.array(labels, dtype=np.int64),
    )


def panels(picture, height=50, width=100):
    """The truth's panel and the found's."""
    across, down = fitted((width, height))
    pixels = np.asarray(picture)[TOP : TOP + down]
    second = picture.width - 2 * GAP - (picture.width - 3 * GAP) // 2
    return pixels[:, GAP : GAP + across], pixels[:, second + GAP : second + GAP + across]


def test_the_edges_of_a_box_have_the_colour_of_its_category_in_both_panels():
    found = make_found([[40, 30, 60, 50]], [0.9], [3])
    truth, given = panels(detection_picture(make_sample(), found, CATEGORIES))
    for panel in (truth, given):  # enlarged four times: 40 30 60 50 is 160 120 240 200
        edge = category_color(3)
        for y, x in ((150, 160), (150, 239), (199, 200), (121, 235)):
            assert tuple(panel[y, x]) == edge
        assert tuple(panel[150, 159]) == tuple(panel[150, 240]) == (128, 128, 128)
        assert tuple(panel[150, 200]) == (128, 128, 128)
    assert tuple(truth[120, 20]) == category_color(1)
    assert tuple(given[120, 20]) == (128, 128, 128)


def test_a_box_beyond_the_edge_is_drawn_as_far_as_it_is_seen():
    sample = make_sample([[-10, -10, 20, 25]], [2], height=90, width=30)
    truth, _ = panels(detection_picture(sample, make_found(), CATEGORIES), 90, 30)
    assert tuple(truth[60, 79]) == category_color(2)  # enlarged four times
    assert tuple(truth[60, 0]) == (128, 128, 128)


def test_a_large_image_is_made_smaller_with_its_boxes():
    sample = make_sample([[400.0, 200, 800, 400]], [1], height=500, width=1000)
    truth, _ = panels(detection_picture(sample, make_found(), CATEGORIES), 500, 1000)
    assert tuple(truth[120, 160]) == tuple(truth[120, 319]) == category_color(1)
    assert tuple(truth[120, 158]) == (128, 128, 128)


def test_boxes_below_the_threshold_are_left_out_and_the_highest_is_on_top():
    boxes = [[10, 20, 30, 40], [10, 20, 30, 40], [60, 20, 80, 40]]
    found = make_found(boxes, [0.9, 0.5, 0.1], [1, 2, 3])

    def given(threshold):
        return panels(detection_picture(make_sample(), found, CATEGORIES, threshold=threshold))[1]

    assert tuple(given(0.3)[120, 40]) == category_color(1)
    assert tuple(given(0.3)[120, 240]) == (128, 128, 128)
    assert tuple(given(0.1)[120, 240]) == category_color(3)
    assert tuple(given(0.95)[120, 40]) == (128, 128, 128)


def test_what_is_no_target_is_grey():
    sample = make_sample(crowd=[True, False])
    truth, _ = panels(detection_picture(sample, make_found(), CATEGORIES))
    assert tuple(truth[120, 20]) == CROWD
    assert tuple(truth[150, 160]) == category_color(3)


def test_an_image_with_nothing_in_it_and_nothing_found_is_drawn():
    picture = detection_picture(make_sample([], []), make_found(), CATEGORIES)
    for panel in panels(picture):
        assert (panel == 128).all()


@pytest.mark.parametrize(("number", "named"), [(MOST_TAGS, True), (MOST_TAGS + 1, False)])
def test_names_are_left_out_where_they_would_hide_the_image(number, named):
    boxes = [[5 + 5 * place, 20, 50, 48] for place in range(number)]
    sample = make_sample([[5, 20, 50, 48]] * number, [1] * number, [True] * number)
    truth, given = panels(
        detection_picture(sample, make_found(boxes, [0.5] * number, [2] * number), CATEGORIES)
    )
    assert (tuple(truth[75, 21]) == CROWD) is named
    assert (tuple(given[75, 21]) == category_color(2)) is named


def test_the_legend_names_the_categories_that_occur_in_either():
    def below(sample, found):
        picture = np.asarray(detection_picture(sample, found, CATEGORIES))[TOP + 200 :]
        return {tuple(color) for color in picture.reshape(-1, 3).tolist()}

    one, two, three = (category_color(label) for label in (1, 2, 3))
    found = below(make_sample(), make_found([[1, 1, 9, 9]], [0.9], [2]))
    assert {one, two, three} <= found
    assert CROWD not in found
    found = below(make_sample(crowd=[True, False]), make_found([[1, 1, 9, 9]], [0.1], [2]))
    assert {CROWD, three} <= found
    assert not {one, two} & found


def test_a_box_without_area_breaks_nothing():
    found = make_found([[30, 30, 30, 30], [99.9, 49.9, 100, 50]], [1.0, 1.0], [1, 1])
    _, given = panels(detection_picture(make_sample([], []), found, CATEGORIES))
    assert tuple(given[120, 120]) == category_color(1)


def test_colours_of_eighty_categories_differ_and_of_twenty_clearly():
    colors = [category_color(label) for label in range(1, 81)]
    assert len(set(colors)) == 80
    assert category_color(3) == colors[2]
    pairs = itertools.combinations(colors[:20], 2)
    assert min(np.abs(np.subtract(*pair)).sum() for pair in pairs) > 90


@pytest.mark.parametrize("label", [0, 4])
def test_a_label_without_a_name_is_told(label):
    found = make_found([[1, 1, 2, 2]], [0.1], [label])
    with pytest.raises(InputError, match="labels of image 7"):
        detection_picture(make_sample(), found, CATEGORIES)
    with pytest.raises(InputError, match="1 to 3"):
        detection_picture(make_sample(labels=(1, label)), make_found(), CATEGORIES)


def test_the_largest_object_is_the_box_of_most_area_that_is_a_target():
    boxes = [[0, 0, 10, 10], [20, 10, 60, 20], [0, 0, 100, 50]]
    sample = make_sample(boxes, [1, 2, 3], [False, False, True])
    assert largest_object(sample) == (15, 40)
    assert largest_object(make_sample([], [])) == (25, 50)
    assert largest_object(make_sample([[90, 40, 300, 300]], [1])) == (49, 99)


def test_digit_scenes_are_drawn():
    from quatrain.tasks.detection.digits import digit_boxes

    corpus = digit_boxes(DigitScenesSpec(size=48, train=1, valid=1, test=1))
    sample = corpus.test[0]
    found = make_found(sample.boxes.tolist(), [1.0] * len(sample.labels), sample.labels.tolist())
    truth, given = panels(detection_picture(sample, found, corpus.categories), 48, 48)
    x0, _, _, y1 = (round(8 * side) for side in sample.boxes[0].tolist())
    color = category_color(int(sample.labels[0]))
    assert color in {tuple(truth[y1 - 1, x0 + 4]), tuple(truth[y1 - 2, x0 + 1])}
    assert color in {tuple(given[y1 - 1, x0 + 4]), tuple(given[y1 - 2, x0 + 1])}
