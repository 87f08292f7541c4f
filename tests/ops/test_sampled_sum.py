import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.functional import grid_sample
from torch.testing import assert_close
from torchvision.ops import deform_conv2d as torchvision_deform_conv2d

from laws import unchecked
from quatrain.ops import sampled_sum as module
from quatrain.ops.derivatives import USE_REFERENCE
from quatrain.ops.sampled_sum import choose_method, sampled_sum
from quatrain.specs import InputError, SpecError

METHODS = ("blockwise", "reference")
every_method = pytest.mark.parametrize("method", METHODS)


def leaf(generator, *shape, spread=1.0):
    x = torch.randn(shape, dtype=torch.float64, generator=generator) * spread
    return x.requires_grad_()


def operands(sizes, queries=3, heads=2, points=2, batch=2, spread=1.0, channels=3, seed=0):
    """Values, positions around the middle of each level, and weights of any sign."""
    generator, axes = torch.Generator().manual_seed(seed), len(sizes[0])
    length = sum(torch.Size(size).numel() for size in sizes)
    value = leaf(generator, batch, length, heads, channels)
    shape = (batch, queries, heads, len(sizes), points)
    middle = torch.tensor(sizes, dtype=torch.float64)[:, None] / 2
    positions = leaf(generator, *shape, axes, spread=spread).detach() * middle + middle
    return value, positions.requires_grad_(), leaf(generator, *shape)


def by_grid_sample(value, positions, weights, sizes):
    """The formula: torch's bilinear sampling of each level, and a weighted sum."""
    batch, queries, heads, _, points, _ = positions.shape
    total, start = 0, 0
    for level, size in enumerate(sizes):
        length = torch.Size(size).numel()
        maps = value[:, start : start + length].permute(0, 2, 3, 1).flatten(0, 1)
        normalized = (2 * positions[:, :, :, level] + 1) / positions.new_tensor(size) - 1
        grid = normalized.flip(-1).transpose(1, 2).flatten(0, 1)
        sampled = grid_sample(maps.unflatten(-1, size), grid, align_corners=False)
        sampled = sampled.view(batch, heads, -1, queries, points)
        total = total + torch.einsum("bhdqp,bqhp->bqhd", sampled, weights[:, :, :, level])
        start += length
    return total


def assert_same(actual, expected, leaves):
    assert_close(actual, expected, rtol=1e-10, atol=1e-10)
    factors = torch.linspace(-1, 1, actual.numel(), dtype=torch.float64).view_as(actual)
    gradients = [
        torch.autograd.grad((factors * y).sum(), leaves, retain_graph=True)
        for y in (actual, expected)
    ]
    assert_close(*gradients, rtol=1e-10, atol=1e-10)


levels = st.lists(st.tuples(st.integers(1, 6), st.integers(1, 6)), min_size=1, max_size=3)


@settings(max_examples=40)
@given(
    levels,
    st.integers(1, 5),
    st.sampled_from([(1, 1), (2, 3), (3, 1)]),
    st.sampled_from([0.0, 0.7, 5.0]),
    st.sampled_from([1, 12, 2**15]),
)
def test_on_maps_both_methods_agree_with_torchs_grid_sample(
    sizes, queries, heads_and_points, spread, samples
):
    heads, points = heads_and_points
    leaves = operands(sizes, queries, heads, points, spread=spread)
    if spread == 0:  # on or between grid positions
        with torch.no_grad():
            leaves[1].copy_((2 * leaves[1]).round() / 2)
    expected = by_grid_sample(*leaves, sizes)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(module._SAMPLES, "cpu", samples)
        for method in METHODS:
            assert_same(sampled_sum(*leaves, sizes, method=method), expected, leaves)


@settings(max_examples=20)
@given(st.lists(st.integers(1, 6), min_size=1, max_size=2), st.sampled_from([0.5, 3.0]))
def test_on_sequences_both_methods_agree_with_maps_of_one_column(lengths, spread):
    sizes = [(length,) for length in lengths]
    value, positions, weights = operands(sizes, spread=spread)
    as_maps = torch.cat((positions, torch.zeros_like(positions)), -1)
    expected = by_grid_sample(value, as_maps, weights, [(*size, 1) for size in sizes])
    for method in METHODS:
        output = sampled_sum(value, positions, weights, sizes, method=method)
        assert_same(output, expected, (value, positions, weights))


def test_causal_derivatives_on_the_grid_are_those_towards_the_previous_position():
    value = torch.tensor([1.0, 10.0, 100.0], dtype=torch.float64).view(1, 3, 1, 1)
    weights = torch.ones(1, 1, 1, 1, 1, dtype=torch.float64)
    for method, (causal, expected) in itertools.product(METHODS, ((False, 90.0), (True, 9.0))):
        positions = torch.ones(1, 1, 1, 1, 1, 1, dtype=torch.float64, requires_grad=True)
        y = sampled_sum(value, positions, weights, [(3,)], causal=causal, method=method)
        assert torch.autograd.grad(y.sum(), positions)[0].item() == expected


def test_one_group_with_identity_matrices_is_torchvisions_modulated_convolution():
    generator, sizes, channels = torch.Generator().manual_seed(0), (5, 4), 3
    x = leaf(generator, 2, channels, *sizes)
    offset, mask = leaf(generator, 2, 18, *sizes), leaf(generator, 2, 9, *sizes)
    weight = torch.eye(channels, dtype=torch.float64)[:, :, None, None].expand(-1, -1, 3, 3)
    expected = torchvision_deform_conv2d(x, offset, weight, padding=1, mask=mask)
    rows, columns, taps = torch.arange(5), torch.arange(4), torch.arange(3) - 1
    queries = torch.cartesian_prod(rows, columns)[:, None]
    regular = queries + torch.cartesian_prod(taps, taps)
    positions = regular + offset.flatten(2).transpose(1, 2).unflatten(-1, (9, 2))
    weights = mask.flatten(2).transpose(1, 2)
    for method in METHODS:
        y = sampled_sum(
            x.flatten(2).transpose(1, 2)[:, :, None],
            positions[:, :, None, None],
            weights[:, :, None, None],
            [sizes],
            method=method,
        )
        y = y.flatten(2).transpose(1, 2).view_as(expected)
        assert_same(y, expected, (x, offset, mask))


@every_method
@pytest.mark.parametrize("wrong", [float("nan"), float("inf"), -float("inf"), 1e30])
def test_invalid_positions_read_zero_with_zero_gradients(method, wrong):
    value, positions, weights = operands([(3, 4)])
    with torch.no_grad():
        positions[:, 1, :, :, :, 1] = wrong
    y = sampled_sum(value, positions, weights, [(3, 4)], method=method)
    assert (y[:, 1] == 0).all()
    gradients = torch.autograd.grad(y.sum(), (value, positions, weights))
    assert all(gradient.isfinite().all() for gradient in gradients)
    assert (gradients[1][:, 1] == 0).all()


@every_method
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_lower_precision_is_close_and_keeps_its_type(method, dtype):
    value, positions, weights = operands([(5, 6), (3, 3)])
    exact = sampled_sum(value, positions, weights, [(5, 6), (3, 3)])
    converted = value.to(dtype), positions.float(), weights.to(dtype)
    y = sampled_sum(*converted, [(5, 6), (3, 3)], method=method)
    assert y.dtype == dtype
    assert (y.double() - exact).norm() < 0.02 * exact.norm()


@every_method
@pytest.mark.parametrize(("batch", "queries"), [(0, 3), (2, 0)])
def test_without_queries_gradients_are_zero(method, batch, queries):
    leaves = operands([(2, 3)], queries=queries, batch=batch)
    y = sampled_sum(*leaves, [(2, 3)], method=method)
    assert y.shape == (batch, queries, 2, 3)
    for gradient, x in zip(torch.autograd.grad(y.sum(), leaves), leaves, strict=True):
        assert gradient.shape == x.shape
        assert not gradient.any()


def test_only_the_reference_has_second_derivatives():
    leaves = operands([(3, 2), (2, 2)])

    def call(*x, method="reference"):
        return sampled_sum(*x, [(3, 2), (2, 2)], method=method)

    assert torch.autograd.gradgradcheck(call, leaves, fast_mode=True)
    y = call(*leaves, method="auto").square().sum()
    (gradient,) = torch.autograd.grad(y, leaves[1], create_graph=True)
    with pytest.raises(InputError, match="no second derivatives") as caught:
        torch.autograd.grad(gradient.sum(), leaves[0])
    assert USE_REFERENCE in str(caught.value)


@pytest.mark.slow
@pytest.mark.compile
@pytest.mark.filterwarnings("ignore:The .grad attribute:UserWarning")  # torch's own, of the check
def test_the_operator_passes_opcheck():
    torch.library.opcheck(module._sampled_sum, (*operands([(3, 4), (2, 2)]), [3, 4, 2, 2], False))


@unchecked()
@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"positions": torch.zeros(2, 3, 2, 2, 2, 2)}, "positions"),
        ({"weights": torch.zeros(2, 3, 1, 1, 2)}, "weights"),
        ({"sizes": [(12,)]}, "sizes"),
        ({"sizes": [(3, 5)]}, "value"),
    ],
)
def test_shapes_that_do_not_fit_are_refused(changes, field):
    arguments = dict(zip(("value", "positions", "weights"), operands([(3, 4)]), strict=True))
    with pytest.raises(InputError) as caught:
        sampled_sum(**(arguments | {"sizes": [(3, 4)]} | changes))
    assert caught.value.field == field


def test_onnx_takes_the_reference(monkeypatch):
    assert (choose_method(), choose_method("reference")) == ("blockwise", "reference")
    monkeypatch.setattr(module, "is_exported_to_onnx", lambda: True)
    assert choose_method() == "reference"
    for method in ("blockwise", "kernel"):
        with unchecked(), pytest.raises(SpecError) as caught:
            choose_method(method)
        assert caught.value.field == "method"
