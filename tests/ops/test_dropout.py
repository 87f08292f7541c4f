import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.testing import assert_close

from quatrain.ops.dropout import dropout

RATES = [0.1, 0.3, 0.5, 0.9]


@pytest.mark.parametrize("rate", RATES)
def test_the_share_of_zeros_is_the_rate(rate):
    torch.manual_seed(0)
    count = 400_000
    dropped = (dropout(torch.ones(count), rate, True) == 0).sum().item()
    deviation = math.sqrt(count * rate * (1 - rate))
    assert abs(dropped - count * rate) < 5 * deviation


@pytest.mark.parametrize("rate", RATES)
def test_what_is_kept_is_scaled_so_that_the_mean_stays(rate):
    torch.manual_seed(0)
    dropped = dropout(torch.ones(1000, dtype=torch.float64), rate, True)
    kept = dropped[dropped != 0]
    assert_close(kept, torch.full_like(kept, 1 / (1 - rate)), rtol=2e-4, atol=0)


def test_neighbours_are_dropped_independently():
    torch.manual_seed(0)
    kept = (dropout(torch.ones(400_000), 0.5, True) > 0).double()
    for apart in range(1, 6):
        together = (kept[apart:] * kept[:-apart]).mean().item()
        assert abs(together - 0.25) < 5 * math.sqrt(0.25 * 0.75 / 400_000) * 2


@given(st.integers(0, 2**31), st.lists(st.integers(0, 7), min_size=0, max_size=3))
def test_the_same_seed_drops_the_same_whatever_the_shape(seed, shape):
    x = torch.ones(shape)
    runs = []
    for _ in range(2):
        torch.manual_seed(seed)
        runs.append(dropout(x, 0.5, True))
    assert runs[0].shape == x.shape
    assert torch.equal(*runs)


def test_another_draw_drops_other_elements():
    torch.manual_seed(0)
    x = torch.ones(64)
    assert not torch.equal(dropout(x, 0.5, True), dropout(x, 0.5, True))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_the_gradient_is_dropped_where_the_value_is(dtype):
    x = torch.rand(7, 3, dtype=dtype) + 1
    x = x.t().requires_grad_()
    y = dropout(x, 0.4, True)
    (gradient,) = torch.autograd.grad(y.sum(), x)
    assert y.dtype == gradient.dtype == dtype
    assert_close(gradient * x, y)
    assert 0 < (y == 0).sum() < y.numel()


@pytest.mark.parametrize("rate", [0.1, 0.5])
def test_its_second_derivatives_are_those_of_a_product_with_what_was_kept(rate):
    x = torch.rand(40, dtype=torch.float64).add(0.5).requires_grad_()

    def cubes(x):
        torch.manual_seed(1)
        return dropout(x, rate, True).pow(3)

    torch.manual_seed(1)
    factor = (dropout(x, rate, True) / x).detach()
    hessian = torch.autograd.functional.hessian(lambda x: cubes(x).sum(), x)
    assert_close(hessian, torch.diag(6 * x.detach() * factor**3))
    assert torch.autograd.gradgradcheck(cubes, x)


def test_elements_that_are_not_contiguous_are_scaled_in_their_places():
    x = torch.arange(1.0, 31.0).reshape(5, 6)[:, ::2]
    y = dropout(x, 0.5, True)
    assert_close(y, torch.where(y == 0, 0.0, 2 * x))


def test_nothing_is_dropped_while_evaluating_or_at_rate_zero():
    x = torch.rand(9)
    assert dropout(x, 0.5, False) is x
    assert dropout(x, 0.0, True) is x


def test_a_rate_just_below_one_keeps_finite_numbers():
    assert dropout(torch.ones(10_000), 1 - 1e-9, True).isfinite().all()


@pytest.mark.compile
def test_a_compiled_graph_drops_too():
    compiled = torch.compile(dropout, fullgraph=True, backend="aot_eager")
    y = compiled(torch.ones(10_000), 0.5, True)
    assert y.unique().tolist() == [0.0, 2.0]
    assert 4500 < (y == 0).sum() < 5500
