import pytest
import torch
from torch import nn

from quatrain.training.ema import ExponentialMovingAverage


def set_to(module, value):
    with torch.no_grad():
        module.weight.fill_(value)


@pytest.fixture
def module():
    linear = nn.Linear(2, 2, bias=False)
    linear.register_buffer("count", torch.zeros((), dtype=torch.int64))
    set_to(linear, 0.0)
    return linear


def test_the_average_forgets_quickly_at_first_and_then_by_its_decay(module):
    average = ExponentialMovingAverage(module, 0.5)
    expected = 0.0
    for step, value in [(1, 1.0), (2, 5.0), (20, 2.0)]:
        set_to(module, value)
        average.update(step)
        decay = min(0.5, (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay) * value
    assert torch.allclose(average.tensors["weight"], torch.full((2, 2), expected))


def test_whole_numbers_are_those_of_now(module):
    average = ExponentialMovingAverage(module, 0.9)
    module.count.fill_(7)
    average.update(1)
    assert average.tensors["count"].item() == 7


def test_the_weights_come_back_bit_for_bit_even_after_an_error(module):
    average = ExponentialMovingAverage(module, 0.9)
    set_to(module, 0.1)
    inside = []

    def look():
        with average.installed():
            inside.append(module.weight.mean().item())
            raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        look()
    assert inside == [0.0]
    assert torch.equal(module.weight, torch.full((2, 2), 0.1))


def test_installing_puts_the_average_in_for_good(module):
    average = ExponentialMovingAverage(module, 0.9)
    set_to(module, 3.0)
    average.install()
    assert module.weight.mean() == 0.0


def test_a_decay_of_zero_keeps_nothing_and_changes_nothing(module):
    average = ExponentialMovingAverage(module, 0.0)
    set_to(module, 3.0)
    average.update(1)
    with average.installed():
        assert module.weight.mean() == 3.0
    assert average.tensors == {}
