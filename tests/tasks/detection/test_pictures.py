import itertools

import numpy as np
import pytest
import torch
from PIL import Image

from quatrain.specs import InputError
from quatrain.tasks.detection import pictures
from quatrain.tasks.detection.corpus import DetectionSample
from quatrain.tasks.detection.detections import Detections
from quatrain.tasks.detection.pictures import (
    CROWD_COLOR,
    MOST_LABELS,
    category_color,
    detection_picture,
    largest_object,
)

CATEGORIES = ("car", "dog", "cat")
BOXES = [[5.0, 20, 25, 40], [40, 30, 60, 50]]


def make_sample(boxes=BOXES, labels=(1, 3), crowd=None, height=50, width=100):
    return DetectionSample(
        image=torch.full((3, height, width), 128, dtype=torch.uint8),
        boxes=torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4),
        labels=torch.tensor(labels, dtype=torch.int64),
        crowd=torch.tensor(crowd or [False] * len(labels), dtype=torch.bool),
        image_id=7,
    )


def make_detections(boxes=(), scores=(), labels=()):
    return Detections(
        np.array(boxes, dtype=np.float64).reshape(-1, 4),
        np.array(scores, dtype=np.float64),
        np.array(labels, dtype=np.int64),
    )


@pytest.fixture
def draw(monkeypatch):
    """Call `detection_picture` and return the boxes of both panels, and the legend."""

    def drawn(sample, detections, **options):
        calls, picture = [], Image.new("RGB", (1, 1))
        monkeypatch.setattr(
            pictures, "draw_panels", lambda panels, **o: calls.append((panels, o)) or picture
        )
        detection_picture(sample, detections, CATEGORIES, **options)
        ((truth, predicted), arguments) = calls[0]
        return truth.boxes, predicted.boxes, arguments["legend"]

    return drawn


def test_boxes_have_the_colour_of_their_category_and_their_label(draw):
    detections = make_detections([[40, 30, 60, 50]], [0.9], [3])
    truth, predicted, _ = draw(make_sample(crowd=[True, False]), detections)
    assert [(box.color, box.label) for box in truth] == [
        (CROWD_COLOR, "car"),
        (category_color(3), "cat"),
    ]
    assert [list(box.corners) for box in truth] == BOXES
    assert [(box.color, box.label) for box in predicted] == [(category_color(3), "cat 0.90")]


def test_boxes_below_the_threshold_are_left_out_and_the_highest_is_on_top(draw):
    detections = make_detections([[10, 20, 30, 40]] * 3, [0.9, 0.1, 0.5], [1, 2, 3])

    def labels(threshold):
        return [b.label for b in draw(make_sample(), detections, threshold=threshold)[1]]

    assert labels(0.3) == ["cat 0.50", "car 0.90"]
    assert labels(0.1) == ["dog 0.10", "cat 0.50", "car 0.90"]
    assert labels(0.95) == []


@pytest.mark.parametrize(("number", "labelled"), [(MOST_LABELS, True), (MOST_LABELS + 1, False)])
def test_labels_are_left_out_if_there_are_many_boxes(number, labelled, draw):
    boxes = [[5 + 5 * index, 20, 90, 48] for index in range(number)]
    sample = make_sample(boxes, [1] * number)
    for drawn in draw(sample, make_detections(boxes, [0.5] * number, [2] * number))[:2]:
        assert {bool(box.label) for box in drawn} == {labelled}


def test_the_legend_has_the_categories_of_both_panels(draw):
    *_, legend = draw(make_sample(), make_detections([[1, 1, 9, 9]], [0.9], [2]))
    assert legend == {name: category_color(i) for i, name in enumerate(CATEGORIES, start=1)}
    low_score = make_detections([[1, 1, 9, 9]], [0.1], [2])
    *_, legend = draw(make_sample(crowd=[True, False]), low_score)
    assert legend == {"cat": category_color(3), "crowd": CROWD_COLOR}


def test_images_without_boxes_and_boxes_without_area_are_drawn():
    flat = make_detections([[30, 30, 30, 30], [99.9, 49.9, 100, 50]], [1.0, 1.0], [1, 1])
    for detections in (make_detections(), flat):
        picture = detection_picture(make_sample([], []), detections, CATEGORIES)
        colors = {tuple(color) for color in np.asarray(picture).reshape(-1, 3).tolist()}
        assert (128, 128, 128) in colors
        assert (category_color(1) in colors) is (detections is flat)


def test_the_colours_of_eighty_categories_differ_and_of_twenty_clearly():
    colors = [category_color(label) for label in range(1, 81)]
    assert len(set(colors)) == 80
    pairs = itertools.combinations(colors[:20], 2)
    assert min(np.abs(np.subtract(*pair)).sum() for pair in pairs) > 90


@pytest.mark.parametrize("label", [0, 4])
def test_a_label_without_a_category_is_refused(label):
    wrong = make_detections([[1, 1, 2, 2]], [0.1], [label])
    for sample, detections in (
        (make_sample(), wrong),
        (make_sample(labels=(1, label)), make_detections()),
    ):
        with pytest.raises(InputError) as error:
            detection_picture(sample, detections, CATEGORIES)
        assert error.value.field == "labels"
        assert "the labels of image 7" in str(error.value)


def test_the_largest_object_ignores_crowd_boxes():
    boxes = [[0, 0, 10, 10], [20, 10, 60, 20], [0, 0, 100, 50]]
    sample = make_sample(boxes, [1, 2, 3], [False, False, True])
    assert largest_object(sample) == (15, 40)
    assert largest_object(make_sample([], [])) == (25, 50)
    assert largest_object(make_sample([[90, 40, 300, 300]], [1])) == (49, 99)
