import pytest
import torch
from torch import nn

from quatrain.insertion import insert
from quatrain.nn import parse_mixer
from quatrain.training import Recipe
from quatrain.training.optimizer import ExponentialMovingAverage, make_optimizer


def fill(module, value):
    with torch.no_grad():
        module.weight.fill_(value)


@pytest.fixture
def module():
    linear = nn.Linear(2, 2, bias=False)
    linear.register_buffer("count", torch.zeros((), dtype=torch.int64))
    linear.register_buffer("scale", torch.zeros(()))
    linear.register_buffer("mask", torch.tensor([0.0, -torch.inf]), persistent=False)
    fill(linear, 0.0)
    return linear


def test_the_decay_rises_to_its_value(module):
    ema = ExponentialMovingAverage(module, 0.5)
    expected = 0.0
    for step, value in [(1, 1.0), (2, 5.0), (20, 2.0)]:
        fill(module, value)
        module.scale.fill_(value)
        ema.update(module, step)
        decay = min(0.5, (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay) * value
    assert torch.allclose(ema.module.weight, torch.full((2, 2), expected))
    assert ema.module.scale.item() == pytest.approx(expected)


def test_integer_and_temporary_buffers_are_copied(module):
    ema = ExponentialMovingAverage(module, 0.9)
    module.count.fill_(7)
    ema.update(module, 1)
    assert ema.module.count.item() == 7
    assert torch.equal(ema.module.mask, module.mask)


def test_the_model_is_left_unchanged(module):
    ema = ExponentialMovingAverage(module, 0.9)
    fill(module, 0.1)
    ema.update(module, 1)
    assert torch.equal(module.weight, torch.full((2, 2), 0.1))
    assert module.training
    assert not ema.module.training


def test_a_model_with_an_inserted_mixer_is_averaged():
    model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))
    x = torch.randn(1, 3, 4)
    insert(model, parse_mixer("0010", heads=2), after="0", example=x)
    ema = ExponentialMovingAverage(model, 0.9)
    assert torch.equal(ema.module(x), model.eval()(x))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(1.0)
    ema.update(model, 1)
    assert not torch.equal(ema.module(x), model(x))


def test_a_recipe_sets_the_options_of_its_optimizer():
    recipe = Recipe(betas=(0.8, 0.9), epsilon=1e-7, weight_decay=0.1, learning_rate=0.5)
    group = make_optimizer(recipe, nn.Linear(2, 2)).param_groups[0]
    assert (group["betas"], group["eps"], group["weight_decay"]) == ((0.8, 0.9), 1e-7, 0.1)
    recipe = recipe.model_copy(update={"optimizer": "sgd", "momentum": 0.3})
    group = make_optimizer(recipe, nn.Linear(2, 2)).param_groups[0]
    assert (group["momentum"], group["weight_decay"], group["lr"]) == (0.3, 0.1, 0.5)
