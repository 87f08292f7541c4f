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

NAMES = ("sky", "road", "car", "tree")


def refusal(matrix, prediction, label):
    with pytest.raises((InputError, DataError)) as error:
        matrix.add(3, prediction, label)
    assert matrix.counts.sum() == 0
    return error.value


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
def test_scores_equal_those_of_sets_of_pixels(seed):
    predictions, labels = random_pairs(seed)
    scores = counted(predictions, labels, range(5)).scores(NAMES)
    known = labels != IGNORE
    expected = {}
    for index, name in enumerate(NAMES):
        predicted, true = (predictions == index) & known, (labels == index) & known
        union = int((predicted | true).sum())
        expected[name] = 100 * int((predicted & true).sum()) / union if union else math.nan
    assert scores.classes == pytest.approx(expected, abs=1e-9, nan_ok=True)
    assert math.isnan(scores.classes["tree"])
    assert scores.miou == pytest.approx(np.mean([expected[name] for name in NAMES[:3]]), abs=1e-9)
    correct = ((predictions == labels) & known).sum() / known.sum()
    assert scores.pixel_accuracy == pytest.approx(100 * float(correct), abs=1e-4)
    assert list(scores.metrics) == ["miou", "pixel_accuracy", "iou_sky", "iou_road", "iou_car"]
    assert scores.metrics["iou_car"] == scores.classes["car"]


@given(st.integers(0, 1000), st.integers(1, 6))
@settings(max_examples=20)
def test_the_sum_of_shards_equals_the_matrix_of_a_single_process(seed, processes):
    predictions, labels = random_pairs(seed)
    total = ConfusionMatrix(4)
    for process in range(processes):
        mine = counted(predictions, labels, range(process, 5, processes))
        total = total + pickle.loads(pickle.dumps(mine))
    alone = counted(predictions, labels, range(5))
    assert torch.equal(total.counts, alone.counts)
    assert total.images == alone.images
    assert total.counts.dtype == torch.int64


@given(st.integers(0, 1000))
@settings(max_examples=10)
def test_counts_by_image_give_the_scores_of_a_test_set_with_copies_of_images(seed):
    predictions, labels = random_pairs(seed)
    counts = (
        counted(predictions, labels, [3, 0, 4]) + counted(predictions, labels, [1, 2])
    ).pixel_counts(NAMES)
    assert counts.is_valid()
    assert counts.image_ids.tolist() == [0, 1, 2, 3, 4]
    drawn = np.random.default_rng(seed).integers(0, 5, (4, 5))
    drawn[0] = range(5)
    times = np.stack([np.bincount(each, minlength=5) for each in drawn]).astype(float)
    for number, indices in enumerate(drawn):
        scores = counted(predictions[indices], labels[indices], range(5)).scores(NAMES)
        for metric, value in scores.metrics.items():
            assert counts.scores(metric, times)[number] == pytest.approx(value, abs=1e-9)
        known = [name for name in NAMES if f"iou_{name}" not in scores.metrics]
        assert all(np.isnan(counts.scores(f"iou_{name}", times)[number]) for name in known)


def test_a_repeated_image_counts_once():
    predictions, labels = random_pairs(0)
    assert torch.equal(
        counted(predictions, labels, [0, 1, 0]).counts, counted(predictions, labels, [0, 1]).counts
    )


def test_matrices_that_share_an_image_are_refused():
    predictions, labels = random_pairs(0)
    one, two = (counted(predictions, labels, indices) for indices in ([0, 1], [1, 2]))
    with pytest.raises(InputError) as error:
        one + two
    assert "1 images, the first 1" in str(error.value)
    with pytest.raises(InputError) as error:
        one + ConfusionMatrix(3)
    assert "have 4 and 3 classes" in str(error.value)


def test_a_class_that_is_only_predicted_has_an_iou_of_zero():
    matrix = ConfusionMatrix(3)
    matrix.add(0, torch.tensor([[0, 1]]), torch.tensor([[0, 0]]))
    scores = matrix.scores(NAMES[:3])
    assert scores.classes["road"] == 0
    assert scores.miou == 25


def test_predictions_of_ignored_pixels_do_not_count():
    matrix = ConfusionMatrix(2)
    matrix.add(0, torch.tensor([[0, 99]]), torch.tensor([[0, IGNORE]]))
    assert matrix.counts.tolist() == [[1, 0], [0, 0]]


def test_invalid_values_are_refused():
    matrix = ConfusionMatrix(2)
    zeros = torch.zeros(2, 2, dtype=torch.long)
    assert refusal(matrix, zeros[:1], zeros).field == "prediction"
    error = refusal(matrix, zeros, torch.tensor([[0, 1], [2, 0]]))
    assert error.field == "label"
    assert "the label of image 3 has values 0 to 2" in str(error)
    error = refusal(matrix, torch.tensor([[0, 0], [0, -1]]), zeros)
    assert error.field == "prediction"
    assert "the prediction of image 3 has values -1 to 0" in str(error)
    with pytest.raises(InputError) as error:
        matrix.scores(NAMES[:2])
    assert error.value.field == "counts"
    with pytest.raises(InputError) as error:
        matrix.scores(NAMES)
    assert error.value.field == "names"
    for number in (0, 256):
        with pytest.raises(InputError) as error:
            ConfusionMatrix(number)
        assert error.value.field == "classes"


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
    expected, matrix = ConfusionMatrix(19), ConfusionMatrix(19)
    expected.add(0, prediction, label)
    matrix.add(0, prediction.to(of_prediction), label.to(of_label))
    assert torch.equal(matrix.counts, expected.counts)
    assert matrix.counts.sum() == 75


@pytest.mark.parametrize(
    "kind", [torch.float32, torch.float64, torch.bfloat16, torch.bool, torch.complex64]
)
def test_other_types_are_refused(kind):
    zeros = torch.zeros(2, 2, dtype=torch.long)
    matrix = ConfusionMatrix(2)
    assert refusal(matrix, zeros.to(kind), zeros).field == "prediction"
    assert refusal(matrix, zeros, zeros.to(kind)).field == "label"


def test_negative_labels_and_batches_are_refused():
    matrix = ConfusionMatrix(2)
    zeros = torch.zeros(2, 2, dtype=torch.int8)
    assert "values -1 to -1" in str(refusal(matrix, zeros, zeros - 1))  # 255 in int8
    assert "(1, 2, 2)" in str(refusal(matrix, zeros[None], zeros[None]))
    assert "(4,)" in str(refusal(matrix, zeros, zeros.flatten()))


def test_the_signature_has_the_number_of_classes_and_names_the_absent_ones():
    matrix = ConfusionMatrix(4)
    matrix.add(0, torch.tensor([[0, 1]]), torch.tensor([[0, 0]]))
    scores = matrix.scores(NAMES)
    absent = 'in neither truth nor prediction: "car", "tree"'
    assert scores.signature == f"mean over 2 of 4 classes; {absent}"
    matrix.add(1, torch.tensor([[2, 3]]), torch.tensor([[2, 3]]))
    assert matrix.scores(NAMES).signature == "mean over 4 of 4 classes"


def test_signatures_of_many_absent_classes_are_short_and_unique():
    signatures = set()
    for last in (199, 198):
        matrix = ConfusionMatrix(200)
        matrix.add(0, torch.tensor([[0, last]]), torch.tensor([[0, last]]))
        signatures.add(matrix.scores([f"class {n}" for n in range(200)]).signature)
    assert len(signatures) == 2
    assert all("and 190 more" in each and len(each) < 250 for each in signatures)
