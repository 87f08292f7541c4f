"""The optimizer that a recipe describes."""

import torch
from torch import nn

from quatrain.nn import param_groups
from quatrain.training.recipe import Recipe


def make_optimizer(recipe: Recipe, module: nn.Module) -> torch.optim.Optimizer:
    """The optimizer of a recipe, over the trainable parameters of `module`."""
    groups = param_groups(module, recipe.learning_rate, recipe.weight_decay)
    if recipe.optimizer == "sgd":
        return torch.optim.SGD(groups, momentum=recipe.momentum)
    return torch.optim.AdamW(groups, betas=recipe.betas, eps=recipe.epsilon, fused=True)
