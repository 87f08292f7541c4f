"""The optimizer of a recipe, and the exponential moving average (EMA) of the weights.

The EMA is evaluated in place of the weights:

average <- d average + (1 - d) weights,    d = min(decay, (1 + step) / (10 + step))
"""

from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from quatrain.nn import param_groups
from quatrain.training.recipe import Recipe


def make_optimizer(recipe: Recipe, module: nn.Module) -> torch.optim.Optimizer:
    """The optimizer of a recipe, over the trainable parameters of `module`."""
    groups = param_groups(module, recipe.learning_rate, recipe.weight_decay)
    if recipe.optimizer == "sgd":
        return torch.optim.SGD(groups, momentum=recipe.momentum)
    return torch.optim.AdamW(groups, betas=recipe.betas, eps=recipe.epsilon, fused=True)


class ExponentialMovingAverage(AveragedModel):
    """A copy of a model, in evaluation mode, whose weights are the EMA of the model's.

    Source: Szegedy et al. 2016, https://arxiv.org/abs/1512.00567, section 8.
    Differs: the decay rises to its value, so that the initial weights are soon forgotten.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        super().__init__(model, multi_avg_fn=partial(_average, decay), use_buffers=True)
        self.eval()

    def update(self, model: nn.Module, step: int) -> None:
        """Average in the weights after `step`, counted from 1.

        Integer buffers, and buffers that are not in the state dict, are copied.
        """
        self.n_averaged.fill_(step)  # at 0, torch would replace the initial weights
        self.update_parameters(model)
        persistent = self.module.state_dict().keys()
        buffers = zip(self.module.named_buffers(), model.buffers(), strict=True)
        for (name, average), buffer in buffers:
            if name not in persistent or not average.is_floating_point():
                average.copy_(buffer)


def _average(decay: float, averages: Any, weights: Any, step: Tensor | int) -> None:
    number = int(step)
    decay = min(decay, (1 + number) / (10 + number))
    get_ema_multi_avg_fn(decay)(averages, weights, number)
