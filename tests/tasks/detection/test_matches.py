from dataclasses import replace

import numpy as np
import pytest
from tests.tasks.detection.test_metric import CATEGORIES, random_problem

from quatrain.tasks.detection.matches import match_detections
from quatrain.tasks.detection.metric import DetectionMetric

METRICS = ("ap", "ap50", "ap75", *(f"ap_of_{name}" for name in CATEGORIES))


def evaluated(truths, predictions):
    metric = DetectionMetric(CATEGORIES, truths)
    for image_id, detections in predictions.items():
        metric.add(image_id, *detections)
    return metric


def numbers_of(metric):
    scores = metric.scores()
    known = {**scores.metrics, **scores.category_metrics}
    return {name: known.get(name, float("nan")) for name in METRICS}


def copied(truths, predictions, times):
    """The test set with each image as often as `times`, under new ids in the order of the old."""
    ordered = sorted(truths, key=lambda truth: truth.image_id)
    drawn = [truth for truth, count in zip(ordered, times, strict=True) for _ in range(count)]
    copies = [replace(truth, image_id=number) for number, truth in enumerate(drawn)]
    return copies, {number: predictions[truth.image_id] for number, truth in enumerate(drawn)}


@pytest.mark.parametrize("seed", range(12))
def test_a_resample_has_the_scores_of_a_test_set_with_copies_of_its_images(seed):
    """With crowds, equal scores, IoUs equal to a threshold, and categories without objects."""
    truths, predictions = random_problem(seed)
    matches = match_detections(evaluated(truths, predictions))
    assert matches.is_valid()
    random = np.random.default_rng(seed)
    times = [np.ones(12, np.int64)]
    times += [np.bincount(random.integers(0, 12, 12), minlength=12) for _ in range(5)]
    expected = [numbers_of(evaluated(*copied(truths, predictions, own))) for own in times]
    for metric in METRICS:
        found = matches.scores(metric, np.array(times, dtype=float)).tolist()
        wanted = [scores[metric] for scores in expected]
        assert found == pytest.approx(wanted, abs=1e-9, nan_ok=True), metric


def test_an_image_without_objects_or_detections_has_no_matches():
    truths, predictions = random_problem(0)
    empty = [replace(t, xywh=t.xywh[:0], labels=t.labels[:0], crowd=t.crowd[:0], areas=t.areas[:0])
             for t in truths]  # fmt: skip
    matches = match_detections(evaluated(empty, predictions))
    assert (len(matches.object_image), len(matches.image)) == (0, 0)
    assert np.isnan(matches.scores("ap", np.ones((2, 12)))).all()
    none = {image_id: tuple(x[:0] for x in each) for image_id, each in predictions.items()}
    matches = match_detections(evaluated(truths, none))
    assert matches.scores("ap", np.ones((2, 12))).tolist() == [0, 0]


def test_detections_after_the_last_match_of_their_category_are_left_out():
    truths, predictions = random_problem(1)
    matches = match_detections(evaluated(truths, predictions))
    for category in range(len(CATEGORIES)):
        own = matches.category == category
        *_, last = np.flatnonzero(matches.matched[own])
        assert matches.tied[own][last + 1 :].all()
