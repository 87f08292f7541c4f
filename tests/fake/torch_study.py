# ruff: noqa: ARG002 - the protocol of a task
"""The head of a study file whose task trains one weight with torch; tests append the study."""

from typing import Literal

import torch
from torch import nn

from quatrain.specs import Spec
from quatrain.study import Cell, Study  # noqa: F401  (used by what is appended)
from quatrain.training import Evaluation, Loss, Polynomial, Recipe


class Objective(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(2, 1)

    def forward(self, x):
        return Loss(self.layer(x).square().sum(), torch.tensor(float(len(x))))


class TinySpec(Spec):
    kind: Literal["tiny"] = "tiny"
    recipe: Recipe = Recipe(
        steps=3, learning_rate=1e-2, warmup_steps=1, schedule=Polynomial(power=1.0)
    )

    def open(self, data, folder, seed):
        return TinyTask(self)


class TinyTask:
    rate_unit = "rows"
    data_hashes = {}  # noqa: RUF012
    data_notes = {}  # noqa: RUF012

    def __init__(self, spec):
        self.recipe = spec.recipe

    def build(self):
        return Objective()

    def batches(self, epoch):
        return [Plan(0), Plan(2)]

    def collate(self, plan):
        return {"x": torch.tensor([[float(plan.first), 1.0], [plan.first + 1.0, 1.0]])}

    def monitor(self, objective):
        return {}

    def evaluate(self, objective, folder):
        print("evaluating é 漢")  # noqa: T201
        return Evaluation({"accuracy": 50.0})

    def cost(self, objective):
        return {"parameters": 3.0, "multiply_adds": 2.0}

    def example_batch(self):
        return self.collate(Plan(0))


class Plan:
    """A class of the study file, which worker processes must know."""

    def __init__(self, first):
        self.first = first
