from torch import nn

from quatrain.training import Recipe
from quatrain.training.optimizer import make_optimizer


def test_a_recipe_sets_the_options_of_its_optimizer():
    recipe = Recipe(betas=(0.8, 0.9), epsilon=1e-7, weight_decay=0.1, learning_rate=0.5)
    group = make_optimizer(recipe, nn.Linear(2, 2)).param_groups[0]
    assert (group["betas"], group["eps"], group["weight_decay"]) == ((0.8, 0.9), 1e-7, 0.1)
    recipe = recipe.model_copy(update={"optimizer": "sgd", "momentum": 0.3})
    group = make_optimizer(recipe, nn.Linear(2, 2)).param_groups[0]
    assert (group["momentum"], group["weight_decay"], group["lr"]) == (0.3, 0.1, 0.5)
