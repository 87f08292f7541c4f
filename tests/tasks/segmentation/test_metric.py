import math
import pickle

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from quatrain.specs import DataError, InputError
from quatrain.tasks.segmentation.corpus import IGNORE
from quatrain.tasks.segmentation.metric import ConfusionMatrix
from quatrain.tasks.vision import shard

NAMES = ("sky", "road", "car", "tree")


def random_pairs(seed, images=5):
    random = np.random.default_rng(seed)
    labels = random.integers(0, 3, (images, 6, 7))
    predictions = np.where(
        random.random(labels.shape) < 0.6, labels, random.integers(0, 3, labels.shape)
    )
    labels[random.random(labels.shape) < 0.2] = IGNORE
    return torch.from_numpy(predictions), torch.from_numpy(labels)


def counted(predictions, labels, indices):
    matrix = ConfusionMatrix(4)
    for index in indices:
        matrix.add(index, predictions[index], labels[index])
    return matrix


@given(st.integers(0, 1000))
@settings(max_examples=20)
def test_scores_are_what_sets_of_pixels_give(seed):
    predictions, labels = random_pairs(seed)
    scores = counted(predictions, labels, range(5)).scores(NAMES)
    known = labels != IGNORE
    wanted = {}
    for index, name in enumerate(NAMES):
        inside, there = (predictions == index) & known, (labels == index) & known
        union = int((inside | there).sum())
        wanted[name] = 100 * int((inside & there).sum()) / union if union else math.nan
    assert scores.classes == pytest.approx(wanted, abs=1e-9, nan_ok=True)
    assert math.isnan(scores.classes["tree"])
    assert scores.miou == pytest.approx(np.mean([wanted[name] for name in NAMES[:3]]), abs=1e-9)
    right = ((predictions == labels) & known).sum() / known.sum()
    assert scores.pixel_accuracy == pytest.approx(100 * float(right), abs=1e-4)
    assert list(scores.metrics) == ["miou", "pixel_accuracy", "iou_sky", "iou_road", "iou_car"]
    assert scores.metrics["iou_car"] == scores.classes["car"]


@given(st.integers(0, 1000), st.integers(1, 6))
@settings(max_examples=20)
def test_processes_that_share_the_images_get_the_number_that_one_gets(seed, processes):
    predictions, labels = random_pairs(seed)
    total = ConfusionMatrix(4)
    for process in range(processes):
        mine = counted(predictions, labels, shard(5, process=process, processes=processes))
        total = total + pickle.loads(pickle.dumps(mine))
    alone = counted(predictions, labels, range(5))
    assert torch.equal(total.counts, alone.counts)
    assert total.images == alone.images
    assert total.counts.dtype == torch.int64


def test_an_image_that_a_sampler_repeats_counts_once():
    predictions, labels = random_pairs(0)
    assert torch.equal(
        counted(predictions, labels, [0, 1, 0]).counts, counted(predictions, labels, [0, 1]).counts
    )


def test_matrices_that_share_an_image_are_not_added():
    predictions, labels = random_pairs(0)
    one, two = (counted(predictions, labels, indices) for indices in ([0, 1], [1, 2]))
    with pytest.raises(InputError, match="1, the first 1"):
        one + two
    with pytest.raises(InputError, match="classes of the other matrix is 3, expected 4"):
        one + ConfusionMatrix(3)


def test_a_class_that_is_only_predicted_has_an_iou_of_zero():
    matrix = ConfusionMatrix(3)
    matrix.add(0, torch.tensor([[0, 1]]), torch.tensor([[0, 0]]))
    scores = matrix.scores(NAMES[:3])
    assert scores.classes["road"] == 0
    assert scores.miou == 25


def test_what_is_predicted_on_ignored_pixels_does_not_count():
    matrix = ConfusionMatrix(2)
    matrix.add(0, torch.tensor([[0, 99]]), torch.tensor([[0, IGNORE]]))
    assert matrix.counts.tolist() == [[1, 0], [0, 0]]


def test_what_cannot_be_counted_is_refused():
    matrix = ConfusionMatrix(2)
    zeros = torch.zeros(2, 2, dtype=torch.long)
    with pytest.raises(InputError, match="as the label"):
        matrix.add(0, zeros[:1], zeros)
    with pytest.raises(DataError, match='the label of image 0 is "0 to 2"'):
        matrix.add(0, zeros, torch.tensor([[0, 1], [2, 0]]))
    with pytest.raises(InputError, match='the prediction of image 0 is "-1 to 0"'):
        matrix.add(0, torch.tensor([[0, 0], [0, -1]]), zeros)
    assert matrix.counts.sum() == 0
    with pytest.raises(InputError, match="counted pixels is 0"):
        matrix.scores(NAMES[:2])
    with pytest.raises(InputError, match="2 names"):
        matrix.scores(NAMES)
    for number in (0, 256):
        with pytest.raises(InputError, match="1 to 255"):
            ConfusionMatrix(number)


def test_a_sum_of_many_pixels_is_exact():
    matrix = ConfusionMatrix(2)
    matrix.counts += 2**40
    matrix.add(0, torch.tensor([[1]]), torch.tensor([[1]]))
    assert matrix.counts[1, 1] == 2**40 + 1


INTEGERS = (torch.uint8, torch.int16, torch.int32, torch.int64, torch.uint16)


@pytest.mark.parametrize("of_label", INTEGERS)
@pytest.mark.parametrize("of_prediction", [torch.int8, *INTEGERS])
def test_every_integer_type_gives_the_counts_of_int64(of_label, of_prediction):
    # 19 x 18 + 18 is beyond a byte.
    label = torch.arange(19).repeat_interleave(4).reshape(19, 4)
    prediction = (label + 1) % 19
    label[0, 0] = IGNORE
    wanted, found = ConfusionMatrix(19), ConfusionMatrix(19)
    wanted.add(0, prediction, label)
    found.add(0, prediction.to(of_prediction), label.to(of_label))
    assert torch.equal(found.counts, wanted.counts)
    assert found.counts.sum() == 75


@pytest.mark.parametrize(
    "kind", [torch.float32, torch.float64, torch.bfloat16, torch.bool, torch.complex64]
)
def test_values_of_no_integer_type_are_refused(kind):
    zeros = torch.zeros(2, 2, dtype=torch.long)
    matrix = ConfusionMatrix(2)
    with pytest.raises(InputError, match=f'the prediction of image 3 is "{kind}"'):
        matrix.add(3, zeros.to(kind), zeros)
    with pytest.raises(InputError, match=f'the label of image 3 is "{kind}"'):
        matrix.add(3, zeros, zeros.to(kind))
    assert matrix.counts.sum() == 0


def test_negative_labels_and_whole_batches_are_refused():
    matrix = ConfusionMatrix(2)
    zeros = torch.zeros(2, 2, dtype=torch.int8)
    with pytest.raises(DataError, match='the label of image 0 is "-1 to -1"'):
        matrix.add(0, zeros, zeros - 1)  # 255 in int8
    with pytest.raises(InputError, match=r"the shape of the prediction of image 0 is \(1, 2, 2\)"):
        matrix.add(0, zeros[None], zeros[None])
    with pytest.raises(InputError, match=r"the shape of the label of image 0 is \(4,\)"):
        matrix.add(0, zeros, zeros.flatten())


def test_a_signature_says_over_how_many_classes_the_mean_is_and_names_the_others():
    matrix = ConfusionMatrix(4)
    matrix.add(0, torch.tensor([[0, 1]]), torch.tensor([[0, 0]]))
    scores = matrix.scores(NAMES)
    absent = 'in neither truth nor prediction: "car", "tree"'
    assert scores.signature == f"mean over 2 of 4 classes; {absent}"
    matrix.add(1, torch.tensor([[2, 3]]), torch.tensor([[2, 3]]))
    assert matrix.scores(NAMES).signature == "mean over 4 of 4 classes"


def test_signatures_of_many_absent_classes_are_short_and_tell_them_apart():
    signatures = set()
    for last in (199, 198):
        matrix = ConfusionMatrix(200)
        matrix.add(0, torch.tensor([[0, last]]), torch.tensor([[0, last]]))
        signatures.add(matrix.scores([f"class {n}" for n in range(200)]).signature)
    assert len(signatures) == 2
    assert all("and 190 more" in each and len(each) < 250 for each in signatures)
