import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.functional import cross_entropy
from torch.testing import assert_close

from quatrain.ops.linear_cross_entropy import linear_cross_entropy


def case(rows, channels=4, vocabulary=7, spread=1.0, dtype=torch.float64):
    generator = torch.Generator().manual_seed(rows)
    hidden = torch.randn(rows, channels, generator=generator, dtype=dtype) * spread
    weight = torch.randn(vocabulary, channels, generator=generator, dtype=dtype)
    target = torch.randint(vocabulary, (rows,), generator=generator)
    return hidden.requires_grad_(), weight.requires_grad_(), target


def dense(hidden, weight, target, smoothing):
    logits = hidden @ weight.T
    return cross_entropy(logits, target, label_smoothing=smoothing, reduction="sum")


def assert_equals_dense(hidden, weight, target, smoothing):
    actual, expected = (f(hidden, weight, target, smoothing) for f in (linear_cross_entropy, dense))
    assert_close(actual, expected)
    gradients = [torch.autograd.grad(3 * loss, (hidden, weight)) for loss in (actual, expected)]
    assert_close(*gradients)


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 1.0])
@pytest.mark.parametrize("rows", [0, 1, 255, 256, 257, 700])
def test_it_equals_the_dense_loss_in_value_and_gradient(rows, smoothing):
    assert_equals_dense(*case(rows), smoothing)


@settings(max_examples=50)
@given(st.integers(0, 9), st.integers(1, 6), st.integers(1, 9), st.floats(0, 0.9))
def test_it_equals_the_dense_loss_at_every_size(rows, channels, vocabulary, smoothing):
    assert_equals_dense(*case(rows, channels, vocabulary), smoothing)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("rows", [0, 3, 300])
def test_it_has_the_second_derivatives_of_the_dense_loss(rows, smoothing):
    hidden, weight, target = case(rows)
    second = []
    for f in (linear_cross_entropy, dense):
        loss = f(hidden, weight, target, smoothing)
        grads = torch.autograd.grad(loss, (hidden, weight), create_graph=True)
        squares = sum(grad.square().sum() for grad in grads)
        second.append(torch.autograd.grad(squares, (hidden, weight)))
    assert_close(*second)


def test_second_derivatives_with_a_fixed_operand():
    hidden, weight, target = case(4)
    for fixed in ([hidden.detach(), weight], [hidden, weight.detach()]):
        assert torch.autograd.gradgradcheck(
            lambda learnt, fixed=fixed: linear_cross_entropy(
                *(learnt if x.requires_grad else x for x in fixed), target, 0.1
            ),
            next(x for x in fixed if x.requires_grad),
        )


def test_widely_spread_logits_do_not_overflow():
    hidden, weight, target = case(20, spread=1e4)
    assert_equals_dense(hidden, weight, target, 0.1)


def test_strided_inputs_agree():
    hidden, weight, target = case(6)
    assert_equals_dense(hidden[::2], weight, target[::2], 0.1)


def test_a_fixed_weight_leaves_the_gradient_of_the_inputs():
    hidden, weight, target = case(5)
    (gradient,) = torch.autograd.grad(
        linear_cross_entropy(hidden, weight.detach(), target, 0.1), hidden
    )
    (expected,) = torch.autograd.grad(dense(hidden, weight, target, 0.1), hidden)
    assert_close(gradient, expected)


def test_without_gradients_the_value_is_the_same():
    hidden, weight, target = case(300)
    with torch.no_grad():
        assert_close(
            linear_cross_entropy(hidden, weight, target, 0.1), dense(hidden, weight, target, 0.1)
        )


def test_under_autocast_it_stays_close_and_sums_in_float32():
    hidden, weight, target = case(300, channels=16, vocabulary=50, dtype=torch.float32)
    exact = dense(hidden, weight, target, 0.1)
    with torch.autocast("cpu", torch.bfloat16):
        loss = linear_cross_entropy(hidden, weight, target, 0.1)
    assert loss.dtype == torch.float32
    assert_close(loss, exact, rtol=5e-3, atol=0)
    gradients = torch.autograd.grad(loss, (hidden, weight))
    expected = torch.autograd.grad(exact, (hidden, weight))
    assert [gradient.dtype for gradient in gradients] == [torch.float32] * 2
    for actual, right in zip(gradients, expected, strict=True):
        assert (actual - right).norm() < 0.02 * right.norm()


def test_a_loss_scale_beyond_the_range_of_float16_leaves_finite_gradients():
    hidden, weight, target = case(300, channels=16, vocabulary=50, dtype=torch.float32)
    small = (0.1 * weight).detach().requires_grad_()
    expected = torch.autograd.grad(dense(hidden, small, target, 0.1), (hidden, small))
    with torch.autocast("cpu", torch.float16):
        loss = linear_cross_entropy(hidden, small, target, 0.1)
    scaled = torch.autograd.grad(loss * 2.0**16, (hidden, small))
    for actual, right in zip(scaled, expected, strict=True):
        assert (actual / 2**16 - right).norm() < 0.01 * right.norm()


@pytest.mark.parametrize("wrong", [7, -1, -100])
def test_a_target_outside_of_the_vocabulary_is_an_error(wrong):
    hidden, weight, target = case(3)
    target[1] = wrong
    with pytest.raises(RuntimeError, match="out of bounds"):
        linear_cross_entropy(hidden, weight, target, 0.1)
