"""A training that resumes in the middle, with validation curves, by `quatrain.training.train`.

    quatrain study run examples/resumable.py --out OUT

Stop it at any time, and give the command again: the run continues from its last checkpoint.
"""

import torch
from torch import nn

import quatrain
from quatrain.training import Loss, Polynomial, Recipe
from quatrain.training import train as train_task

points = torch.rand(2000, 2, 12, generator=torch.Generator().manual_seed(0))
distances = (points[:, 0] - points[:, 1]).abs().amax(1)  # the largest difference of two sequences


class Regression(nn.Module):
    """What `quatrain.training.train` needs to know of a task."""

    rate_unit, data_hashes = "examples", {}
    recipe = Recipe(
        steps=300, learning_rate=3e-3, warmup_steps=20, schedule=Polynomial(power=1.0),
        checkpoint_every=50, monitor_every=100,
    )  # fmt: skip

    def __init__(self, network: nn.Module, seed: int) -> None:
        super().__init__()
        self.network, self.seed = network, seed

    def build(self):
        return self

    def batches(self, epoch):
        seeded = torch.Generator().manual_seed(1000 * self.seed + epoch)
        order = torch.randperm(1500, generator=seeded)
        return list(order.split(50))

    def collate(self, plan):
        return {"x": points[plan], "y": distances[plan]}

    def forward(self, x, y):
        errors = (self.network(x).mean((1, 2)) - y).square()
        return Loss(errors.sum(), torch.tensor(float(len(y))))

    def monitor(self, objective):
        return {"valid_error": evaluate(self.network, next(self.parameters()).device)["error"]}


def build():
    return nn.Sequential(nn.Conv1d(2, 16, 1), nn.ReLU(), nn.Conv1d(16, 1, 1))


def train(network, seed, device, folder):
    train_task(Regression(network, seed), folder, seed=seed, device=str(device))


@torch.no_grad()
def evaluate(network, device):
    predicted = network.eval()(points[1500:].to(device)).mean((1, 2)).cpu()
    return {"error": (predicted - distances[1500:]).abs().mean().item()}


study = quatrain.ablate(
    build=build, train=train, evaluate=evaluate, after="1", example=points[:1], heads=4,
    mixers=["w/o", "0010", "1111"], metric="error", lower_is_better=True, margin=0.01,
)  # fmt: skip
