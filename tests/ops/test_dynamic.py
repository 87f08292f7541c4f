import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.testing import assert_close

from quatrain.ops import dynamic
from quatrain.ops.dynamic import band_blocks, dynamic_conv1d, dynamic_conv2d


def formula(x, weights, before):
    """Equation 5, one number at a time; x is (b, c, *axes)."""
    axes, taps = x.shape[2:], weights.shape[2 + len(x.shape[2:]) :]
    per_group = x.shape[1] // weights.shape[1 + len(axes)]
    y = torch.zeros_like(x)
    places = [range(size) for size in x.shape]
    for (b, c, *q), j in itertools.product(
        itertools.product(*places), itertools.product(*map(range, taps))
    ):
        k = [at + step - start for at, step, start in zip(q, j, before, strict=True)]
        if all(0 <= at < size for at, size in zip(k, axes, strict=True)):
            weight = weights[(b, *q, c // per_group, *j)]
            y[(b, c, *q)] = y[(b, c, *q)] + weight * x[(b, c, *k)]
    return y


def leaf(*shape):
    generator = torch.Generator().manual_seed(sum(shape))
    return torch.randn(shape, dtype=torch.float64, generator=generator).requires_grad_()


def assert_same(actual, expected, leaves):
    assert_close(actual, expected)
    weights = torch.randn(
        actual.shape, dtype=actual.dtype, generator=torch.Generator().manual_seed(1)
    )
    gradients = [torch.autograd.grad((weights * y).sum(), leaves) for y in (actual, expected)]
    assert_close(*gradients)


@pytest.mark.parametrize(
    ("length", "window", "causal"), [(5, 3, False), (20, 5, True), (1, 1, False)]
)
def test_sequences_have_second_derivatives(length, window, causal):
    leaves = leaf(1, length, 2), leaf(1, length, 1, window)
    assert torch.autograd.gradgradcheck(
        lambda x, weights: dynamic_conv1d(x, weights, causal=causal), leaves, fast_mode=True
    )


def test_maps_have_second_and_third_derivatives():
    x, weights = leaf(1, 2, 3, 4), leaf(1, 3, 4, 2, 3, 3)
    assert torch.autograd.gradgradcheck(dynamic_conv2d, (x, weights), fast_mode=True)

    def grads(x, weights):
        loss = dynamic_conv2d(x, weights).pow(3).sum()
        return torch.autograd.grad(loss, (x, weights), create_graph=True)

    assert torch.autograd.gradgradcheck(grads, (x, weights), fast_mode=True)


@pytest.mark.parametrize("batch", [0, 2])
def test_gradients_have_the_shapes_of_inputs_also_of_an_empty_batch(batch):
    x, weights = leaf(batch, 9, 4), leaf(batch, 9, 2, 3)
    dynamic_conv1d(x, weights).sum().backward()
    assert (x.grad.shape, weights.grad.shape) == (x.shape, weights.shape)
    x, weights = leaf(batch, 4, 5, 6), leaf(batch, 5, 6, 2, 3, 3)
    dynamic_conv2d(x, weights).sum().backward()
    assert (x.grad.shape, weights.grad.shape) == (x.shape, weights.shape)


@settings(max_examples=20)
@given(
    st.integers(1, 24),
    st.integers(0, 4).map(lambda n: 2 * n + 1),
    st.sampled_from([1, 2, 4]),
    st.booleans(),
)
def test_on_sequences_it_agrees_with_the_formula(length, window, groups, causal):
    x, weights = leaf(2, length, 4), leaf(2, length, groups, window)
    before = window - 1 if causal else window // 2
    expected = formula(x.transpose(1, 2), weights, (before,)).transpose(1, 2)
    assert_same(dynamic_conv1d(x, weights, causal=causal), expected, (x, weights))


@settings(max_examples=15)
@given(st.integers(1, 5), st.integers(1, 6), st.sampled_from([1, 3, 5]), st.sampled_from([1, 2]))
def test_on_maps_it_agrees_with_the_formula(height, width, window, groups):
    x, weights = leaf(1, 2, height, width), leaf(1, height, width, groups, window, window)
    expected = formula(x, weights, (window // 2,) * 2)
    assert_same(dynamic_conv2d(x, weights), expected, (x, weights))


def test_maps_wider_than_a_block_agree_with_the_formula():
    x, weights = leaf(1, 2, 2, 37), leaf(1, 2, 37, 2, 3, 3)
    assert_same(dynamic_conv2d(x, weights), formula(x, weights, (1, 1)), (x, weights))


@pytest.mark.parametrize(("length", "window"), [(1, 1), (1, 3), (16, 3), (37, 5), (20, 19)])
@pytest.mark.parametrize("causal", [False, True])
def test_the_form_for_symbolic_sizes_agrees_with_the_formula(length, window, causal, monkeypatch):
    monkeypatch.setattr(dynamic, "is_symbolic", lambda *_: True)
    x, weights = leaf(2, length, 4), leaf(2, length, 2, window)
    before = window - 1 if causal else window // 2
    expected = formula(x.transpose(1, 2), weights, (before,)).transpose(1, 2)
    assert_same(dynamic_conv1d(x, weights, causal=causal), expected, (x, weights))
    x, weights = leaf(1, 2, 3, 5), leaf(1, 3, 5, 2, 3, 3)
    assert_same(dynamic_conv2d(x, weights), formula(x, weights, (1, 1)), (x, weights))


@pytest.mark.parametrize("width", [1, 15, 16, 17, 200])
@pytest.mark.parametrize("window", [1, 3, 31, 101])
def test_blocks_cover_every_position_once(width, window):
    parts = list(band_blocks(width, window))
    covered = [place for part in parts for place in range(width)[part]]
    assert covered == list(range(width))


def test_gradients_agree_with_finite_differences():
    leaves = (leaf(1, 5, 2), leaf(1, 5, 1, 3))
    assert torch.autograd.gradcheck(dynamic_conv1d, leaves)
