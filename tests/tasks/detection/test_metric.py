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
from quatrain.tasks.detection.corpus import Truth, corners
from quatrain.tasks.detection.found import Found
from quatrain.tasks.detection.metric import NUMBERS, DetectionMetric

CATEGORIES = ("car", "dog", "cat")


def make_truth(image_id, xywh, labels, crowd=None):
    xywh = np.array(xywh, dtype=np.float64).reshape(-1, 4)
    crowd = np.zeros(len(xywh), np.bool_) if crowd is None else np.array(crowd, np.bool_)
    areas = xywh[:, 2] * xywh[:, 3] * 0.8
    return Truth(
        image_id, f"{image_id}.jpg", 200, 300, xywh, np.array(labels, np.int64), crowd, areas
    )


def random_problem(seed, images=12):
    """Truths of all sizes, some crowd, on a coarse grid so that IoUs of exactly 0.5 occur; and
    detections near them, in quarters of a score so that scores are equal."""
    random = np.random.default_rng(seed)
    truths, found = [], {}
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
        found[image_id] = (
            torch.from_numpy(corners(near)).float(),
            torch.from_numpy(scores).float(),
            torch.from_numpy(guessed),
        )
    return truths, found


def measured(categories, truths, found):
    metric = DetectionMetric(categories, truths)
    for image_id, detections in found.items():
        metric.add(image_id, *detections)
    return metric.scores()


def written(categories, truths):
    """What pycocotools would have read from a file with these truths."""
    wanted = COCO()
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
    wanted.dataset = {
        "info": {},
        "images": [{"id": t.image_id, "height": t.height, "width": t.width} for t in truths],
        "categories": [{"id": n, "name": name} for n, name in enumerate(categories, 1)],
        "annotations": [{"id": n, **each} for n, each in enumerate(annotations, 1)],
    }
    wanted.createIndex()
    return wanted


def by_pycocotools(wanted, found):
    """The twelve numbers, and the AP of each category, by what defines them."""
    results = []
    for image_id, (boxes, scores, labels) in found.items():
        ends = boxes.double().numpy()
        for end, score, label in zip(ends, scores.tolist(), labels.tolist(), strict=True):
            bbox = [*end[:2].tolist(), *(end[2:] - end[:2]).tolist()]
            row = {"image_id": image_id, "category_id": label, "bbox": bbox, "score": score}
            results.append(row)
    evaluation = COCOeval(wanted, wanted.loadRes(results), "bbox")
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
def test_all_numbers_are_those_of_pycocotools(seed):
    truths, found = random_problem(seed)
    scores = measured(CATEGORIES, truths, found)
    check_equal(scores, *by_pycocotools(written(CATEGORIES, truths), found))
    assert tuple(scores.numbers) == NUMBERS
    assert 5 < scores.numbers["ap"] < 95


def test_more_than_a_hundred_detections_are_cut_as_pycocotools_cuts_them():
    truths, found = random_problem(0, images=2)
    for image_id, (boxes, scores, labels) in found.items():
        many = [boxes.repeat(40, 1), torch.rand(40 * len(scores)), labels.repeat(40)]
        found[image_id] = tuple(many)
    check_equal(
        measured(CATEGORIES, truths, found), *by_pycocotools(written(CATEGORIES, truths), found)
    )


@pytest.mark.data
def test_a_real_file_scores_as_pycocotools_scores_it(shared_data):
    folder = shared_data / "mini" / "detection"
    corpus = CocoSpec(test="val").read(folder)
    random = np.random.default_rng(0)
    found = {}
    for truth in corpus.test.truths:
        near = corners(truth.xywh) + random.normal(0, 4, (len(truth.labels), 4))
        near[:, 2:] = np.maximum(near[:, :2], near[:, 2:])
        scores = torch.from_numpy(random.random(len(near)))
        found[truth.image_id] = (torch.from_numpy(near), scores, torch.from_numpy(truth.labels))
    scores = measured(corpus.categories, corpus.test.truths, found)
    official = COCO(str(folder / "annotations/instances_val.json"))
    check_equal(scores, *by_pycocotools(official, found))


def test_finding_everything_is_a_hundred_percent():
    truths = [make_truth(1, [[10, 10, 50, 50]], [2]), make_truth(2, [], [])]
    found = {
        1: (torch.tensor([[10.0, 10, 60, 60]]), torch.tensor([0.9]), torch.tensor([2])),
        2: (torch.zeros(0, 4), torch.zeros(0), torch.zeros(0, dtype=torch.long)),
    }
    scores = measured(CATEGORIES, truths, found)
    assert scores.numbers["ap"] == pytest.approx(100)
    assert scores.numbers["ap_medium"] == pytest.approx(100)
    assert math.isnan(scores.numbers["ap_small"])
    assert "ap_small" not in scores.metrics
    assert math.isnan(scores.categories["car"])
    assert scores.categories["dog"] == pytest.approx(100)
    assert "faster-coco-eval" in scores.signature


def test_finding_nothing_at_all_is_zero():
    nothing = (torch.zeros(0, 4), torch.zeros(0), torch.zeros(0, dtype=torch.long))
    scores = measured(CATEGORIES, [make_truth(1, [[10, 10, 50, 50]], [2])], {1: nothing})
    assert scores.numbers["ap"] == 0
    assert scores.numbers["ar100"] == 0


def test_what_is_found_in_a_crowd_is_no_error():
    truths = [make_truth(1, [[10, 10, 50, 50], [100, 0, 90, 90]], [2, 2], [False, True])]
    one = torch.tensor([[10.0, 10, 60, 60]])
    in_crowd = torch.tensor([[100.0, 0, 130, 30], [140, 20, 180, 60]])
    boxes, labels = torch.cat([in_crowd, one]), torch.tensor([2, 2, 2])
    found = {1: (boxes, torch.tensor([0.9, 0.8, 0.7]), labels)}
    assert measured(CATEGORIES, truths, found).numbers["ap"] == pytest.approx(100)


@given(st.integers(0, 20), st.integers(1, 4), st.randoms(use_true_random=False))
@settings(max_examples=15)
def test_processes_that_share_the_images_get_the_number_that_one_gets(seed, processes, shuffle):
    truths, found = random_problem(seed, images=6)
    alone = measured(CATEGORIES, truths, found)
    ids = list(found)
    shuffle.shuffle(ids)
    padded = ids + ids[: -len(ids) % processes]  # as a sampler for training does
    parts = []
    for process in range(processes):
        metric = DetectionMetric(CATEGORIES, truths)
        for image_id in padded[process::processes]:
            metric.add(image_id, *found[image_id])
        parts.append(pickle.loads(pickle.dumps(metric.found)))
    merged = DetectionMetric(CATEGORIES, truths)
    for part in parts:
        merged.merge(part)
    np.testing.assert_equal(merged.scores().numbers, alone.numbers)
    np.testing.assert_equal(merged.scores().categories, alone.categories)


def refused(*detections, image_id=1):
    metric = DetectionMetric(CATEGORIES, [make_truth(1, [[10, 10, 50, 50]], [2])])
    with pytest.raises(InputError) as caught:
        metric.add(image_id, *detections)
    return str(caught.value)


def test_detections_that_cannot_be_are_refused():
    box, score, label = torch.tensor([[1.0, 1, 2, 2]]), torch.tensor([0.5]), torch.tensor([1])
    assert "an image of the truth" in refused(box, score, label, image_id=2)
    assert "not finite" in refused(box, score * math.nan, label)
    assert "not finite" in refused(box * math.inf, score, label)
    assert "ending before it begins" in refused(box.flip(1), score, label)
    assert "0 to 0" in refused(box, score, label * 0)
    assert "4 to 4" in refused(box, score, label * 4)


def test_an_image_that_nobody_predicted_is_an_error_and_no_miss():
    metric = DetectionMetric(CATEGORIES, [make_truth(1, [[10, 10, 50, 50]], [2])])
    with pytest.raises(InputError, match="1 of 1, the first 1"):
        metric.scores()


def test_two_truths_of_one_image_are_refused():
    with pytest.raises(DataError, match="image ids"):
        DetectionMetric(CATEGORIES, [make_truth(1, [], [])] * 2)


IDS = (0, -3, 2**31, 2**53, 2**63, 1_700_000_000_000_000_001, 10**30)


@pytest.mark.parametrize("first", IDS)
def test_a_score_does_not_depend_on_what_the_images_are_called(first):
    truths, found = random_problem(3)
    order = sorted(found)
    number = {image_id: place for place, image_id in enumerate(order)}
    wanted = measured(CATEGORIES, truths, found)
    renamed = [replace(truth, image_id=first + number[truth.image_id]) for truth in truths]
    scores = measured(CATEGORIES, renamed, {first + number[i]: each for i, each in found.items()})
    np.testing.assert_equal(scores.numbers, wanted.numbers)
    np.testing.assert_equal(scores.categories, wanted.categories)


def test_objects_found_in_the_neighbouring_image_of_a_large_id_are_misses():
    first = 2**53
    truths = [make_truth(first + n, [[x, x, 20, 20]], [1]) for n, x in enumerate((5, 40))]
    one = (torch.tensor([0.9]), torch.tensor([1]))
    swapped = {
        first + n: (torch.tensor([[x, x, x + 20, x + 20]]), *one) for n, x in ((0, 40), (1, 5))
    }
    assert measured(CATEGORIES, truths, swapped).numbers["ap50"] == 0


def test_results_have_the_ids_of_the_file():
    metric = DetectionMetric(CATEGORIES, [make_truth(2**53 + 1, [[10, 10, 50, 50]], [2])])
    metric.add(2**53 + 1, torch.tensor([[10, 10, 60, 60]]), torch.ones(1), torch.tensor([2]))
    assert [each["image_id"] for each in metric.results()] == [2**53 + 1]


@pytest.mark.parametrize("dtype", ["uint8", "int32", "float32", "float16", "bfloat16"])
def test_detections_of_other_types_score_as_those_of_the_usual_ones(dtype):
    truths = [make_truth(1, [[10, 10, 50, 50], [200, 100, 40, 40]], [2, 3])]
    boxes = torch.tensor([[10, 10, 60, 60], [200, 100, 240, 140]])
    numbers = (boxes, torch.tensor([1, 0]), torch.tensor([2, 3]))
    found = {1: tuple(each.to(getattr(torch, dtype)) for each in numbers)}
    assert measured(CATEGORIES, truths, found).numbers["ap"] == pytest.approx(100)


def test_labels_between_two_categories_are_refused():
    box, score = torch.tensor([[1.0, 1, 2, 2]]), torch.tensor([0.5])
    assert "whole numbers" in refused(box, score, torch.tensor([1.5]))
    assert "image 1 (1.jpg)" in refused(box, score, torch.tensor([7]))


def test_what_another_process_found_is_held_to_the_same():
    metric = DetectionMetric(CATEGORIES, [make_truth(1, [[10, 10, 50, 50]], [2])])
    box = np.array([[10.0, 10, 60, 60]], np.float32)
    with pytest.raises(InputError, match="an image of the truth"):
        metric.merge({2: Found(box, np.ones(1), np.array([2]))})
    with pytest.raises(InputError, match="1 to 3"):
        metric.merge({1: Found(box, np.ones(1), np.array([9]))})
    metric.merge({1: Found(box, np.ones(1, np.int64), np.array([2], np.uint8))})
    assert metric.scores().numbers["ap"] == pytest.approx(100)


def test_a_truth_with_a_label_of_no_category_is_refused():
    with pytest.raises(InputError, match=r"the labels of 1\.jpg is \"4 to 4\""):
        DetectionMetric(CATEGORIES, [make_truth(1, [[10, 10, 50, 50]], [4])])


def test_categories_without_an_object_are_named_with_the_mean_that_leaves_them_out():
    truths = [make_truth(1, [[10, 10, 50, 50], [0, 0, 9, 9]], [2, 3], [False, True])]
    found = {1: (torch.tensor([[10.0, 10, 60, 60]]), torch.tensor([0.9]), torch.tensor([2]))}
    signature = measured(CATEGORIES, truths, found).signature
    assert signature.endswith('|mean over 1 of 3 categories, no boxes of: "car", "cat"')
    whole = [make_truth(1, [[10, 10, 50, 50], [0, 0, 9, 9], [5, 5, 9, 9]], [1, 2, 3])]
    assert "mean over" not in measured(CATEGORIES, whole, found).signature


def test_results_are_scored_alike_against_the_file_whose_ids_they_have(coco_folder):
    corpus = CocoSpec(test="val").read(coco_folder)
    metric = DetectionMetric(corpus.categories, corpus.test.truths)
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


def test_signatures_of_many_absent_categories_are_short_and_tell_them_apart():
    categories, signatures = [f"category {n}" for n in range(1203)], set()
    for label in (1203, 1202):
        found = {1: (torch.tensor([[10.0, 10, 60, 60]]), torch.tensor([0.9]), torch.tensor([1]))}
        truths = [make_truth(1, [[10, 10, 50, 50]], [label])]
        signatures.add(measured(categories, truths, found).signature)
    assert len(signatures) == 2
    assert all("and 1,194 more" in each and len(each) < 400 for each in signatures)
