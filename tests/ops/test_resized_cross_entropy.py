import inspect

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.functional import cross_entropy, interpolate
from torch.testing import assert_close

from quatrain.ops import resized_cross_entropy as module
from quatrain.ops.resized_cross_entropy import resized_cross_entropy
from quatrain.specs import InputError

IGNORE = 255


def case(coarse, pixels, classes=4, images=2, spread=1.0, dtype=torch.float64):
    generator = torch.Generator().manual_seed(sum(coarse) + sum(pixels))
    scores = torch.randn(images, classes, *coarse, generator=generator, dtype=dtype) * spread
    labels = torch.randint(classes + 1, (images, *pixels), generator=generator)
    return scores.requires_grad_(), labels.where(labels < classes, IGNORE)


def dense(scores, labels):
    size = tuple(labels.shape[1:])
    resized = interpolate(scores, size, mode="bilinear", align_corners=False)
    return cross_entropy(resized, labels, ignore_index=IGNORE, reduction="sum")


def own(scores, labels):
    return resized_cross_entropy(scores, labels, IGNORE)


def assert_equals_dense(scores, labels):
    actual, expected = own(scores, labels), dense(scores, labels)
    assert_close(actual, expected)
    gradients = [torch.autograd.grad(3 * loss, scores)[0] for loss in (actual, expected)]
    assert_close(*gradients)


@pytest.mark.parametrize("block", [1, 100, 2**18])
@pytest.mark.parametrize(
    ("coarse", "pixels"),
    [
        ((3, 4), (48, 64)),
        ((1, 1), (5, 7)),
        ((5, 3), (5, 3)),
        ((7, 9), (3, 4)),
        ((23, 30), (179, 31)),
    ],
    ids=["x16", "one position", "same size", "shrunk", "odd"],
)
def test_it_equals_the_stored_loss_in_value_and_gradient(monkeypatch, coarse, pixels, block):
    monkeypatch.setattr(module, "_BLOCK", block)
    assert_equals_dense(*case(coarse, pixels))


SIZES = st.tuples(st.integers(1, 9), st.integers(1, 9))


@settings(max_examples=80)
@given(SIZES, SIZES, st.integers(1, 5), st.integers(1, 3), st.integers(1, 60))
def test_it_equals_the_stored_loss_at_every_size(coarse, pixels, classes, images, block):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_BLOCK", block)
        assert_equals_dense(*case(coarse, pixels, classes, images))


def test_no_coarse_row_is_left_out(monkeypatch):
    monkeypatch.setattr(module, "_BLOCK", 1)
    for coarse in range(1, 40):
        for pixels in (1, 2, coarse, coarse + 1, 3 * coarse - 1, 97):
            scores, labels = case((coarse, 1), (pixels, 1), classes=2, images=1)
            assert_close(own(scores, labels), dense(scores, labels))


def test_ignored_pixels_alone_have_neither_loss_nor_gradient():
    scores, labels = case((3, 4), (12, 16))
    loss = own(scores, torch.full_like(labels, IGNORE))
    assert loss.item() == 0
    assert not torch.autograd.grad(loss, scores)[0].any()


def test_it_has_the_second_derivatives_of_the_stored_loss():
    scores, labels = case((3, 4), (7, 9))
    second = []
    for f in (own, dense):
        (gradient,) = torch.autograd.grad(f(scores, labels), scores, create_graph=True)
        second.append(torch.autograd.grad(gradient.square().sum(), scores))
    assert_close(*second)


def test_widely_spread_scores_do_not_overflow():
    assert_equals_dense(*case((3, 4), (12, 16), spread=1e4))


def test_strided_scores_agree():
    scores, labels = case((6, 4), (13, 16))
    assert_equals_dense(scores[:, :, ::2].transpose(2, 3), labels)


def test_without_gradients_the_value_is_the_same():
    scores, labels = case((3, 4), (12, 16))
    with torch.no_grad():
        assert_close(own(scores, labels), dense(scores, labels))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_and_autocast_are_computed_in_float32(dtype):
    scores, labels = case((3, 4), (12, 16), dtype=torch.float32)
    rounded = scores.detach().to(dtype).requires_grad_()
    expected = dense(rounded.float(), labels)
    with torch.autocast("cpu", torch.bfloat16):
        loss = own(rounded, labels)
    assert_close(loss, expected)
    assert torch.autograd.grad(loss, rounded)[0].dtype == dtype


@pytest.mark.parametrize("wrong", [4, -1])
def test_a_label_that_is_no_class_is_an_error(wrong):
    scores, labels = case((3, 4), (12, 16))
    labels[1, 2, 3] = wrong
    with pytest.raises(RuntimeError, match="out of bounds"):
        own(scores, labels)


def test_another_number_of_labels_than_images_is_an_error():
    scores, labels = case((3, 4), (12, 16))
    unchecked = inspect.unwrap(resized_cross_entropy)  # the check of shapes would raise first
    with pytest.raises(InputError, match=r"\(2, 12, 16\) do not fit 1 images"):
        unchecked(scores[:1], labels)


def test_a_score_that_is_not_a_number_makes_the_sum_nan():
    scores, labels = case((3, 4), (12, 16))
    with torch.no_grad():
        scores[0, 0, 1, 1] = float("nan")
    assert own(scores, labels).isnan()
