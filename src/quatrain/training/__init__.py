"""Training: loop, recipes, parameter groups, checkpoints, devices."""

from quatrain.nn import param_groups
from quatrain.training.checkpoint import build_model, load_model, save_model
from quatrain.training.loop import NonFiniteLoss, TrainingResult, train
from quatrain.training.recipe import InverseSqrt, Polynomial, Recipe, Steps
from quatrain.training.task import Evaluation, Loss, Progress, Task

__all__ = [
    "Evaluation",
    "InverseSqrt",
    "Loss",
    "NonFiniteLoss",
    "Polynomial",
    "Progress",
    "Recipe",
    "Steps",
    "Task",
    "TrainingResult",
    "build_model",
    "load_model",
    "param_groups",
    "save_model",
    "train",
]
