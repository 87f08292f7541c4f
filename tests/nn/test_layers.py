import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.testing import assert_close

from quatrain.nn.layers import Dropout, GatedResidual, Projection, dropout
from quatrain.nn.mixers import parse_mixer
from quatrain.specs import SpecError

PROBABILITIES = [0.1, 0.3, 0.5, 0.9]


def test_a_projection_has_weights_of_variance_1_over_inputs():
    torch.manual_seed(0)
    layer = Projection(400, 300)
    assert layer.weight.var().item() == pytest.approx(1 / 400, rel=0.05)
    assert layer.weight.abs().max().item() <= (3 / 400) ** 0.5
    assert not layer.bias.any()


def test_dropout_drops_while_training_and_passes_through_while_evaluating():
    layer, x = Dropout(0.5), torch.ones(1000)
    assert (layer.train()(x) == 0).any()
    assert layer.eval()(x) is x


def test_the_repr_of_dropout_shows_p():
    assert repr(Dropout(0.25)) == "Dropout(p=0.25)"


@pytest.mark.parametrize("p", [-0.1, 1.0, float("nan")])
def test_p_of_dropout_must_be_at_least_0_and_below_1(p):
    with pytest.raises(SpecError) as caught:
        Dropout(p)
    assert caught.value.field == "p"


def test_a_gated_residual_is_the_identity_at_first_bit_for_bit_and_learns_its_gate_then_its_mixer():
    torch.manual_seed(0)
    block = GatedResidual(parse_mixer("1111", heads=2).build(8))
    x = torch.randn(2, 8, 3, 5)
    assert torch.equal(block(x), x)
    optimizer = torch.optim.SGD(block.parameters(), lr=0.1)
    for reached in (False, True):
        optimizer.zero_grad()
        block(x).square().sum().backward()
        assert bool(block.gamma.grad.abs() > 0)
        assert bool(block.mixer.value.weight.grad.abs().sum() > 0) is reached
        optimizer.step()


@pytest.mark.parametrize("p", PROBABILITIES)
def test_the_share_of_zeros_is_p(p):
    torch.manual_seed(0)
    count = 400_000
    dropped = (dropout(torch.ones(count), p, True) == 0).sum().item()
    deviation = math.sqrt(count * p * (1 - p))
    assert abs(dropped - count * p) < 5 * deviation


@pytest.mark.parametrize("p", PROBABILITIES)
def test_other_elements_are_scaled_by_the_inverse_probability(p):
    torch.manual_seed(0)
    dropped = dropout(torch.ones(1000, dtype=torch.float64), p, True)
    remaining = dropped[dropped != 0]
    assert_close(remaining, torch.full_like(remaining, 1 / (1 - p)), rtol=2e-4, atol=0)


def test_neighbours_are_dropped_independently():
    torch.manual_seed(0)
    remaining = (dropout(torch.ones(400_000), 0.5, True) > 0).double()
    for apart in range(1, 6):
        together = (remaining[apart:] * remaining[:-apart]).mean().item()
        assert abs(together - 0.25) < 5 * math.sqrt(0.25 * 0.75 / 400_000) * 2


@given(st.integers(0, 2**31), st.lists(st.integers(0, 7), min_size=0, max_size=3))
def test_a_seed_determines_the_dropped_elements(seed, shape):
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
def test_gradients_are_dropped_with_their_elements(dtype):
    x = torch.rand(7, 3, dtype=dtype) + 1
    x = x.t().requires_grad_()
    y = dropout(x, 0.4, True)
    (gradient,) = torch.autograd.grad(y.sum(), x)
    assert y.dtype == gradient.dtype == dtype
    assert_close(gradient * x, y)
    assert 0 < (y == 0).sum() < y.numel()


@pytest.mark.parametrize("p", [0.1, 0.5])
def test_second_derivatives_are_those_of_a_product_with_the_factor(p):
    x = torch.rand(40, dtype=torch.float64).add(0.5).requires_grad_()

    def cubes(x):
        torch.manual_seed(1)
        return dropout(x, p, True).pow(3)

    torch.manual_seed(1)
    factor = (dropout(x, p, True) / x).detach()
    hessian = torch.autograd.functional.hessian(lambda x: cubes(x).sum(), x)
    assert_close(hessian, torch.diag(6 * x.detach() * factor**3))
    assert torch.autograd.gradgradcheck(cubes, x)


def test_strided_inputs_are_scaled_elementwise():
    x = torch.arange(1.0, 31.0).reshape(5, 6)[:, ::2]
    y = dropout(x, 0.5, True)
    assert_close(y, torch.where(y == 0, 0.0, 2 * x))


def test_evaluation_and_p_zero_drop_nothing():
    x = torch.rand(9)
    assert dropout(x, 0.5, False) is x
    assert dropout(x, 0.0, True) is x


def test_p_just_below_one_gives_finite_numbers():
    assert dropout(torch.ones(10_000), 1 - 1e-9, True).isfinite().all()


@pytest.mark.compile
def test_a_compiled_graph_drops():
    compiled = torch.compile(dropout, fullgraph=True, backend="aot_eager")
    y = compiled(torch.ones(10_000), 0.5, True)
    assert y.unique().tolist() == [0.0, 2.0]
    assert 4500 < (y == 0).sum() < 5500
