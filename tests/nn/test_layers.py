import pytest
import torch

from quatrain.nn.layers import Dropout, GatedResidual, Projection
from quatrain.nn.mixers import parse_mixer
from quatrain.specs import SpecError


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
