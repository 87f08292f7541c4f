import pytest
import torch

from quatrain.nn.dropout import Dropout
from quatrain.specs import SpecError


def test_it_drops_while_training_and_passes_through_while_evaluating():
    layer, x = Dropout(0.5), torch.ones(1000)
    assert (layer.train()(x) == 0).any()
    assert layer.eval()(x) is x


def test_its_repr_shows_p():
    assert repr(Dropout(0.25)) == "Dropout(p=0.25)"


@pytest.mark.parametrize("p", [-0.1, 1.0, float("nan")])
def test_p_must_be_at_least_0_and_below_1(p):
    with pytest.raises(SpecError) as caught:
        Dropout(p)
    assert caught.value.field == "p"
