import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.testing import assert_close

from quatrain.ops.sampling import (
    cell_corners,
    corner_products,
    weighted_gather,
    weighted_scatter,
)


def formula(x, position):
    """Equation 4 of the paper: the sum over all grid positions, weighted by G."""
    total = torch.zeros((), dtype=x.dtype)
    for place in itertools.product(*map(range, x.shape)):
        weights = torch.ones((), dtype=x.dtype)
        for a, b in zip(position, place, strict=True):
            weights = weights * (1 - (a - b).abs()).clamp(min=0)
        total = total + weights * x[place]
    return total


def sample(x, positions, causal=False):
    at, weights = cell_corners(positions, tuple(x.shape), causal=causal)
    return weighted_gather(x.reshape(-1, 1), at, weights)[:, 0]


coordinates = st.floats(-4, 9, allow_nan=False) | st.integers(-2, 8).map(float)


@settings(max_examples=80)
@given(
    st.sampled_from([(1,), (5,), (1, 4), (3, 5), (4, 1)]),
    st.lists(st.tuples(coordinates, coordinates), min_size=1, max_size=4),
    st.booleans(),
)
def test_it_agrees_with_the_papers_formula_and_is_zero_outside(sizes, places, causal):
    x = torch.randn(sizes, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    positions = torch.tensor(places, dtype=torch.float64)[:, : len(sizes)]
    expected = torch.stack([formula(x, position) for position in positions])
    assert_close(sample(x, positions, causal=causal), expected)


@pytest.mark.parametrize("wrong", [float("nan"), float("inf"), -float("inf"), 1e30, -1e30])
def test_invalid_positions_give_zero_with_zero_gradients(wrong):
    x = torch.ones(3, 4, dtype=torch.float64, requires_grad=True)
    positions = torch.tensor([[1.5, wrong], [wrong, 1.0], [1.0, 1.0]], dtype=torch.float64)
    positions.requires_grad_()
    y = sample(x, positions)
    assert y.tolist() == [0.0, 0.0, 1.0]
    grad_x, grad_positions = torch.autograd.grad(y.sum(), (x, positions))
    assert grad_x.sum() == 1
    assert grad_positions[:2].eq(0).all()
    assert grad_positions.isfinite().all()


def test_on_the_grid_the_derivative_is_the_forward_one_or_backward_if_causal():
    x = torch.tensor([1.0, 10.0, 100.0], dtype=torch.float64)
    for causal, expected in ((False, 90.0), (True, 9.0)):
        position = torch.tensor([[1.0]], dtype=torch.float64, requires_grad=True)
        (grad_position,) = torch.autograd.grad(sample(x, position, causal=causal).sum(), position)
        assert grad_position.item() == expected


class Corners(torch.nn.Module):
    def forward(self, x, positions):
        return cell_corners(positions, (x.shape[0], x.shape[1]))


@pytest.mark.compile
def test_corners_are_exported_for_maps_of_other_sizes():
    sizes = {0: torch.export.Dim.DYNAMIC, 1: torch.export.Dim.DYNAMIC}
    positions = torch.rand(20, 2, generator=torch.Generator().manual_seed(0)) * 9 - 2
    example = torch.zeros(4, 3), positions
    exported = torch.export.export(Corners(), example, dynamic_shapes=(sizes, None)).module()
    for height, width in ((4, 3), (1, 6), (5, 1)):
        actual = exported(torch.zeros(height, width), positions)
        assert_close(actual, cell_corners(positions, (height, width)))


def operands():
    generator = torch.Generator().manual_seed(0)
    rows, y = (
        torch.randn(count, 3, dtype=torch.float64, generator=generator).requires_grad_()
        for count in (6, 5)
    )
    weights = torch.randn(5, 4, dtype=torch.float64, generator=generator).requires_grad_()
    return rows, y, torch.randint(6, (5, 4), generator=generator), weights


def test_the_three_sums_agree_with_their_formulas():
    rows, y, at, weights = operands()
    assert_close(weighted_gather(rows, at, weights), (weights[..., None] * rows[at]).sum(1))
    assert_close(corner_products(y, rows, at), (y[:, None] * rows[at]).sum(-1))
    spread = torch.zeros(6, 3, dtype=torch.float64)
    for p, k in itertools.product(range(5), range(4)):
        spread[at[p, k]] += weights[p, k] * y[p]
    assert_close(weighted_scatter(y, at, weights, 6), spread)


@pytest.mark.parametrize("name", ["gather", "scatter", "match"])
def test_each_has_second_derivatives(name):
    rows, y, at, weights = operands()
    call, leaves = {
        "gather": (lambda rows, weights: weighted_gather(rows, at, weights), (rows, weights)),
        "scatter": (lambda y, weights: weighted_scatter(y, at, weights, 6), (y, weights)),
        "match": (lambda y, rows: corner_products(y, rows, at), (y, rows)),
    }[name]
    assert torch.autograd.gradcheck(call, leaves)
    assert torch.autograd.gradgradcheck(call, leaves)
