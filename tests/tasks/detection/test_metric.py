import math
import pickle
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from quatrain.specs import DataError, InputError
from quatrain.tasks.detection.coco import CocoSpec
from quatrain.tasks.detection.corpus import GroundTruth, corners
from quatrain.tasks.detection.detections import Detections
from quatrain.tasks.detection.metric import COCO_METRICS, DetectionMetric

CATEGORIES = ("car", "dog", "cat")


def make_truth(image_id, xywh, labels, crowd=None):
    xywh = np.array(xywh, dtype=np.float64).reshape(-1, 4)
    crowd = np.zeros(len(xywh), np.bool_) if crowd is None else np.array(crowd, np.bool_)
    areas = xywh[:, 2] * xywh[:, 3] * 0.8
    return GroundTruth(
        image_id, f"{image_id}.jpg", 200, 300, xywh, np.array(labels, np.int64), crowd, areas
    )


def random_problem(seed, images=12):
    """Ground truths of all sizes with crowd boxes, on a coarse grid for IoUs of exactly 0.5, and
    detections near them, with scores in quarters for ties."""
    random = np.random.default_rng(seed)
    truths, predictions = [], {}
    for image_id in random.permutation(100)[:images].tolist():
        number = int(random.integers(0, 9))
        sizes = 4.0 * random.integers(1, 30, (number, 2))
        xywh = np.concatenate([4.0 * random.integers(0, 40, (number, 2)), sizes], 1)
        labels = random.integers(1, 4, number)
        truths.append(make_truth(image_id, xywh, labels, random.random(number) < 0.2))
        copies = int(random.integers(1, 4))
        near = np.repeat(xywh, copies, 0) + 4.0 * random.integers(-1, 2, (number * copies, 4))
        near[:, 2:] = np.maximum(near[:, 2:], 0)
        near = np.concatenate([near, 100 * random.random((5, 4))])
        guessed = np.concatenate([np.repeat(labels, copies), random.integers(1, 4, 5)])
        scores = random.integers(1, 5, len(near)) / 4
        predictions[image_id] = (
            torch.from_numpy(corners(near)).float(),
            torch.from_numpy(scores).float(),
            torch.from_numpy(guessed),
        )
    return truths, predictions


def compute_scores(categories, truths, predictions):
    metric = DetectionMetric(categories, truths)
    for image_id, detections in predictions.items():
        metric.add(image_id, *detections)
    return metric.scores()


def official_ground_truth(categories, truths):
    """The ground truth as pycocotools would read it from a file."""
    official = COCO()
    annotations = [
        {
            "image_id": truth.image_id,
            "category_id": int(truth.labels[n]),
            "bbox": truth.xywh[n].tolist(),
            "area": float(truth.areas[n]),
            "iscrowd": int(truth.crowd[n]),
        }
        for truth in truths
        for n in range(len(truth.labels))
    ]
    official.dataset = {
        "info": {},
        "images": [{"id": t.image_id, "height": t.height, "width": t.width} for t in truths],
        "categories": [{"id": n, "name": name} for n, name in enumerate(categories, 1)],
        "annotations": [{"id": n, **each} for n, each in enumerate(annotations, 1)],
    }
    official.createIndex()
    return official


def by_pycocotools(official, predictions):
    """The twelve metrics and the AP of each category by pycocotools."""
    results = []
    for image_id, (boxes, scores, labels) in predictions.items():
        ends = boxes.double().numpy()
        for end, score, label in zip(ends, scores.tolist(), labels.tolist(), strict=True):
            bbox = [*end[:2].tolist(), *(end[2:] - end[:2]).tolist()]
            row = {"image_id": image_id, "category_id": label, "bbox": bbox, "score": score}
            results.append(row)
    evaluation = COCOeval(official, official.loadRes(results), "bbox")
    evaluation.evaluate()
    evaluation.accumulate()
    evaluation.summarize()
    precision = evaluation.eval["precision"][:, :, :, 0, 2]
    each = [
        row[row > -1].mean() if (row > -1).any() else -1 for row in np.moveaxis(precision, 2, 0)
    ]
    return evaluation.stats, each


def check_equal(scores, stats, each):
    mine = [-1 if math.isnan(v) else v / 100 for v in scores.numbers.values()]
    np.testing.assert_allclose(mine, stats, rtol=0, atol=1e-9)
    mine = [-1 if math.isnan(v) else v / 100 for v in scores.categories.values()]
    np.testing.assert_allclose(mine, each, rtol=0, atol=1e-9)


@pytest.mark.parametrize("seed", range(5))
def test_all_metrics_equal_those_of_pycocotools(seed):
    truths, predictions = random_problem(seed)
    scores = compute_scores(CATEGORIES, truths, predictions)
    check_equal(scores, *by_pycocotools(official_ground_truth(CATEGORIES, truths), predictions))
    assert tuple(scores.numbers) == COCO_METRICS
    assert 5 < scores.numbers["ap"] < 95


def test_more_than_a_hundred_detections_are_limited_as_by_pycocotools():
    truths, predictions = random_problem(0, images=2)
    for image_id, (boxes, scores, labels) in predictions.items():
        many = [boxes.repeat(40, 1), torch.rand(40 * len(scores)), labels.repeat(40)]
        predictions[image_id] = tuple(many)
    check_equal(
        compute_scores(CATEGORIES, truths, predictions),
        *by_pycocotools(official_ground_truth(CATEGORIES, truths), predictions),
    )


@pytest.mark.data
@pytest.mark.slow
def test_the_scores_of_a_real_file_equal_those_of_pycocotools(shared_data):
    folder = shared_data / "mini" / "detection"
    corpus = CocoSpec(test="val").read(folder)
    random = np.random.default_rng(0)
    predictions = {}
    for truth in corpus.test.ground_truths:
        near = corners(truth.xywh) + random.normal(0, 4, (len(truth.labels), 4))
        near[:, 2:] = np.maximum(near[:, :2], near[:, 2:])
        scores = torch.from_numpy(random.random(len(near)))
        predictions[truth.image_id] = (
            torch.from_numpy(near),
            scores,
            torch.from_numpy(truth.labels),
        )
    scores = compute_scores(corpus.categories, corpus.test.ground_truths, predictions)
    official = COCO(str(folder / "annotations/instances_val.json"))
    check_equal(scores, *by_pycocotools(official, predictions))


def test_perfect_detections_score_a_hundred():
    truths = [make_truth(1, [[10, 10, 50, 50]], [2]), make_truth(2, [], [])]
    predictions = {
        1: (torch.tensor([[10.0, 10, 60, 60]]), torch.tensor([0.9]), torch.tensor([2])),
        2: (torch.zeros(0, 4), torch.zeros(0), torch.zeros(0, dtype=torch.long)),
    }
    scores = compute_scores(CATEGORIES, truths, predictions)
    assert scores.numbers["ap"] == pytest.approx(100)
    assert scores.numbers["ap_medium"] == pytest.approx(100)
    assert math.isnan(scores.numbers["ap_small"])
    assert "ap_small" not in scores.metrics
    assert math.isnan(scores.categories["car"])
    assert scores.categories["dog"] == pytest.approx(100)
    assert "faster-coco-eval" in scores.signature


def test_no_detections_score_zero():
    nothing = (torch.zeros(0, 4), torch.zeros(0), torch.zeros(0, dtype=torch.long))
    scores = compute_scores(CATEGORIES, [make_truth(1, [[10, 10, 50, 50]], [2])], {1: nothing})
    assert scores.numbers["ap"] == 0
    assert scores.numbers["ar100"] == 0


def test_detections_in_a_crowd_box_are_no_errors():
    truths = [make_truth(1, [[10, 10, 50, 50], [100, 0, 90, 90]], [2, 2], [False, True])]
    one = torch.tensor([[10.0, 10, 60, 60]])
    in_crowd = torch.tensor([[100.0, 0, 130, 30], [140, 20, 180, 60]])
    boxes, labels = torch.cat([in_crowd, one]), torch.tensor([2, 2, 2])
    predictions = {1: (boxes, torch.tensor([0.9, 0.8, 0.7]), labels)}
    assert compute_scores(CATEGORIES, truths, predictions).numbers["ap"] == pytest.approx(100)


@given(st.integers(0, 20), st.integers(1, 4), st.randoms(use_true_random=False))
@settings(max_examples=15)
def test_merged_shards_give_the_scores_of_a_single_process(seed, processes, shuffle):
    truths, predictions = random_problem(seed, images=6)
    alone = compute_scores(CATEGORIES, truths, predictions)
    ids = list(predictions)
    shuffle.shuffle(ids)
    padded = ids + ids[: -len(ids) % processes]  # as a sampler for training does
    parts = []
    for process in range(processes):
        metric = DetectionMetric(CATEGORIES, truths)
        for image_id in padded[process::processes]:
            metric.add(image_id, *predictions[image_id])
        parts.append(pickle.loads(pickle.dumps(metric.detections)))
    merged = DetectionMetric(CATEGORIES, truths)
    for part in parts:
        merged.merge(part)
    np.testing.assert_equal(merged.scores().numbers, alone.numbers)
    np.testing.assert_equal(merged.scores().categories, alone.categories)


def refusal(*detections, image_id=1):
    metric = DetectionMetric(CATEGORIES, [make_truth(1, [[10, 10, 50, 50]], [2])])
    with pytest.raises(InputError) as error:
        metric.add(image_id, *detections)
    return error.value


def test_invalid_detections_are_refused():
    box, score, label = torch.tensor([[1.0, 1, 2, 2]]), torch.tensor([0.5]), torch.tensor([1])
    assert refusal(box, score, label, image_id=2).field == "image_id"
    for invalid, problem in (
        ((box, score * math.nan, label), "the scores of image 1 (1.jpg) are not finite"),
        ((box * math.inf, score, label), "the boxes of image 1 (1.jpg) are not finite"),
        ((box.flip(1), score, label), "ends before it begins"),
        ((box, score, label * 0), "are 0 to 0"),
        ((box, score, label * 4), "are 4 to 4"),
    ):
        assert problem in str(refusal(*invalid))


def test_an_image_without_detections_added_is_refused():
    metric = DetectionMetric(CATEGORIES, [make_truth(1, [[10, 10, 50, 50]], [2])])
    with pytest.raises(InputError, match="1 of 1 images have no detections") as error:
        metric.scores()
    assert error.value.field == "detections"


def test_a_repeated_image_id_is_refused():
    with pytest.raises(DataError) as error:
        DetectionMetric(CATEGORIES, [make_truth(1, [], [])] * 2)
    assert error.value.field == "ground_truths"


IDS = (0, -3, 2**31, 2**53, 2**63, 1_700_000_000_000_000_001, 10**30)


@pytest.mark.parametrize("first", IDS)
def test_scores_do_not_depend_on_the_image_ids(first):
    truths, predictions = random_problem(3)
    order = sorted(predictions)
    number = {image_id: place for place, image_id in enumerate(order)}
    expected = compute_scores(CATEGORIES, truths, predictions)
    renamed = [replace(truth, image_id=first + number[truth.image_id]) for truth in truths]
    scores = compute_scores(
        CATEGORIES, renamed, {first + number[i]: each for i, each in predictions.items()}
    )
    np.testing.assert_equal(scores.numbers, expected.numbers)
    np.testing.assert_equal(scores.categories, expected.categories)


def test_large_image_ids_are_not_confused_with_their_neighbours():
    first = 2**53
    truths = [make_truth(first + n, [[x, x, 20, 20]], [1]) for n, x in enumerate((5, 40))]
    one = (torch.tensor([0.9]), torch.tensor([1]))
    swapped = {
        first + n: (torch.tensor([[x, x, x + 20, x + 20]]), *one) for n, x in ((0, 40), (1, 5))
    }
    assert compute_scores(CATEGORIES, truths, swapped).numbers["ap50"] == 0


def test_results_have_the_image_ids_of_the_file():
    metric = DetectionMetric(CATEGORIES, [make_truth(2**53 + 1, [[10, 10, 50, 50]], [2])])
    metric.add(2**53 + 1, torch.tensor([[10, 10, 60, 60]]), torch.ones(1), torch.tensor([2]))
    assert [each["image_id"] for each in metric.results()] == [2**53 + 1]


@pytest.mark.parametrize("dtype", ["uint8", "int32", "float32", "float16", "bfloat16"])
def test_detections_of_other_types_give_the_same_scores(dtype):
    truths = [make_truth(1, [[10, 10, 50, 50], [200, 100, 40, 40]], [2, 3])]
    boxes = torch.tensor([[10, 10, 60, 60], [200, 100, 240, 140]])
    numbers = (boxes, torch.tensor([1, 0]), torch.tensor([2, 3]))
    predictions = {1: tuple(each.to(getattr(torch, dtype)) for each in numbers)}
    assert compute_scores(CATEGORIES, truths, predictions).numbers["ap"] == pytest.approx(100)


def test_fractional_labels_are_refused():
    box, score = torch.tensor([[1.0, 1, 2, 2]]), torch.tensor([0.5])
    assert "the label 1.5" in str(refusal(box, score, torch.tensor([1.5])))
    assert "image 1 (1.jpg)" in str(refusal(box, score, torch.tensor([7])))


def test_detections_of_another_process_are_checked():
    metric = DetectionMetric(CATEGORIES, [make_truth(1, [[10, 10, 50, 50]], [2])])
    box = np.array([[10.0, 10, 60, 60]], np.float32)
    with pytest.raises(InputError):
        metric.merge({2: Detections(box, np.ones(1), np.array([2]))})
    with pytest.raises(InputError):
        metric.merge({1: Detections(box, np.ones(1), np.array([9]))})
    metric.merge({1: Detections(box, np.ones(1, np.int64), np.array([2], np.uint8))})
    assert metric.scores().numbers["ap"] == pytest.approx(100)


def test_a_ground_truth_label_without_category_is_refused():
    with pytest.raises(InputError) as error:
        DetectionMetric(CATEGORIES, [make_truth(1, [[10, 10, 50, 50]], [4])])
    assert error.value.field == "labels"
    assert "the labels of 1.jpg" in str(error.value)


def test_the_signature_names_categories_without_an_object():
    truths = [make_truth(1, [[10, 10, 50, 50], [0, 0, 9, 9]], [2, 3], [False, True])]
    predictions = {1: (torch.tensor([[10.0, 10, 60, 60]]), torch.tensor([0.9]), torch.tensor([2]))}
    signature = compute_scores(CATEGORIES, truths, predictions).signature
    assert signature.endswith('|mean over 1 of 3 categories, no boxes of: "car", "cat"')
    whole = [make_truth(1, [[10, 10, 50, 50], [0, 0, 9, 9], [5, 5, 9, 9]], [1, 2, 3])]
    assert "mean over" not in compute_scores(CATEGORIES, whole, predictions).signature


def test_results_with_the_ids_of_the_file_score_the_same_by_pycocotools(coco_folder):
    corpus = CocoSpec(test="val").read(coco_folder)
    metric = DetectionMetric(corpus.categories, corpus.test.ground_truths)
    for sample in corpus.test:
        metric.add(sample.image_id, sample.boxes, torch.ones(len(sample.labels)), sample.labels)
    results = metric.results(corpus.category_ids)
    assert {row["category_id"] for row in results} == {3, 18}
    assert {row["category_id"] for row in metric.results()} == {1, 2}
    official = COCO(str(coco_folder / "annotations/instances_val.json"))
    evaluation = COCOeval(official, official.loadRes(results), "bbox")
    evaluation.evaluate()
    evaluation.accumulate()
    evaluation.summarize()
    assert 100 * evaluation.stats[0] == pytest.approx(metric.scores().numbers["ap"])
    assert evaluation.stats[0] == pytest.approx(1)


def test_signatures_of_many_absent_categories_are_short_and_unique():
    categories, signatures = [f"category {n}" for n in range(203)], set()
    for label in (203, 202):
        predictions = {
            1: (torch.tensor([[10.0, 10, 60, 60]]), torch.tensor([0.9]), torch.tensor([1]))
        }
        truths = [make_truth(1, [[10, 10, 50, 50]], [label])]
        signatures.add(compute_scores(categories, truths, predictions).signature)
    assert len(signatures) == 2
    assert all("and 194 more" in each and len(each) < 400 for each in signatures)
