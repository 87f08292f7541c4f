import pytest
import torch

from quatrain.nn.dropout import Dropout
from quatrain.specs import SpecError


def test_it_drops_while_training_and_passes_through_while_evaluating():
    layer, x = Dropout(0.5), torch.ones(1000)
    assert (layer.train()(x) == 0).any()
    assert layer.eval()(x) is x


def test_its_printed_form_tells_the_rate():
    assert repr(Dropout(0.25)) == "Dropout(rate=0.25)"


@pytest.mark.parametrize("rate", [-0.1, 1.0, float("nan")])
def test_a_rate_that_leaves_nothing_is_refused(rate):
    with pytest.raises(SpecError, match=r"dropout is .*, expected at least 0 and below 1"):
        Dropout(rate)
