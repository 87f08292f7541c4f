"""A study of a network of one's own: what does each mixer bring a small classifier of digits?

    quatrain study run studies/own_network.py --out OUT

To be copied: the network knows nothing of quatrain, and everything that a study asks of a task is
below. It is to name 8 x 8 pixels of handwriting, scikit-learn's 1,797 digits: 1,297 to learn from,
250 to look at on the way, 250 to be scored. Five cells and three seeds, 3 to 18 seconds of one
core a run.

What was expected before it was first run: little. It came out otherwise: after 200 steps the plain
network, which sees 5 x 5 pixels before all is averaged, names 81 % of the digits, and with any of
the four mixers 93 to 96 %. Of networks that learn for longer this says nothing.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float, Int64
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from quatrain.cost import count_multiply_adds, count_parameters
from quatrain.insertion import insert
from quatrain.nn import Mixer, parse_mixer
from quatrain.specs import Spec
from quatrain.study import Cell, Comparison, Study
from quatrain.training import Evaluation, Loss, Polynomial, Recipe

MIXERS = ("w/o", "0010", "0110", "1111", "deformable")
BATCH, LEARN_FROM, LOOK_AT = 64, 1297, 250


class Classifier(nn.Module):
    """Anybody's network, from grey pixels to a score for each of ten digits."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(1, 32, 3, padding=1), nn.ReLU(), nn.Conv2d(32, 32, 3, padding=1), nn.ReLU()
        )
        self.scores = nn.Linear(32, 10)

    def forward(self, images: Float[Tensor, "n 1 h w"]) -> Float[Tensor, "n 10"]:
        """Scores of each image."""
        return self.scores(self.features(images).mean((2, 3)))


class Objective(nn.Module):
    """From a batch to its loss, summed, and what it is a sum over: what the loop minimizes."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Float[Tensor, "n 1 h w"], labels: Int64[Tensor, " n"]) -> Loss:
        """Cross entropy."""
        total = cross_entropy(self.network(images), labels, reduction="sum")
        return Loss(total, torch.tensor(float(len(labels)), device=total.device))


class ClassifierSpec(Spec):
    """Everything that decides a result, frozen; what is not written down here is a constant."""

    kind: Literal["own classifier"] = "own classifier"
    mixer: Mixer | None = None
    """What stands behind the convolutions; None for nothing."""
    recipe: Recipe = Recipe(
        steps=200, learning_rate=1e-2, warmup_steps=20, schedule=Polynomial(power=1.0)
    )

    def open(self, data: Path | None, folder: Path, seed: int) -> "ClassifierTask":  # noqa: ARG002
        """Read the data; `folder` may keep what is made of it."""
        return ClassifierTask(self, seed)


class ClassifierTask:
    """One run: all that is random here follows from the seed and the arguments."""

    rate_unit = "images"
    data_hashes: Mapping[str, str] = {}  # of files that were read: runs of other data never mix
    data_notes: Mapping[str, int] = {}  # what of the data was left out, and how often

    def __init__(self, spec: ClassifierSpec, seed: int) -> None:
        self.recipe, self.spec, self.seed = spec.recipe, spec, seed
        pixels, labels = load_digits(return_X_y=True)
        order = np.random.default_rng(0).permutation(len(labels))  # the same parts for all seeds
        self.images = torch.tensor(pixels[order] / 16).float().reshape(-1, 1, 8, 8)
        self.labels = torch.tensor(labels[order])

    def build(self) -> Objective:
        """A fresh network. Paired by seed, what two cells share begins equal: fork the seed."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            network = Classifier()
        if self.spec.mixer is not None:
            insert(network, self.spec.mixer, after="features.3", example=self.images[:2])
        return Objective(network)

    def batches(self, epoch: int) -> list[list[int]]:
        """Which images each batch of an epoch has."""
        order = np.random.default_rng([self.seed, epoch]).permutation(LEARN_FROM).tolist()
        return [order[start : start + BATCH] for start in range(0, LEARN_FROM, BATCH)]

    def collate(self, plan: list[int]) -> dict[str, Tensor]:
        """A batch, as the objective's arguments."""
        return {"images": self.images[plan], "labels": self.labels[plan]}

    def monitor(self, objective: nn.Module) -> dict[str, float]:
        """What is looked at while training, if the recipe says `monitor_every`."""
        return {"valid_accuracy": self._accuracy(objective, LEARN_FROM, LEARN_FROM + LOOK_AT)}

    def evaluate(self, objective: nn.Module, folder: Path) -> Evaluation:  # noqa: ARG002
        """Final metrics; files written into the folder may be named as artifacts."""
        return Evaluation({"accuracy": self._accuracy(objective, LEARN_FROM + LOOK_AT, None)})

    def cost(self, objective: nn.Module) -> dict[str, float]:
        """Of one image."""
        network = self._network(objective)
        example = self.images[:1].to(next(network.parameters()).device)
        return {
            "parameters": float(count_parameters(network)),
            "multiply_adds": float(count_multiply_adds(network, example)),
        }

    def probe_batch(self) -> dict[str, Tensor]:
        """What `study measure` takes the time of."""
        return self.collate(list(range(BATCH)))

    @torch.no_grad()
    def _accuracy(self, objective: nn.Module, start: int, stop: int | None) -> float:
        """Right answers in percent."""
        network = self._network(objective)
        images, labels = self.images[start:stop], self.labels[start:stop]
        found = network(images.to(next(network.parameters()).device)).argmax(1).cpu()
        return 100 * float((found == labels).double().mean())

    def _network(self, objective: nn.Module) -> nn.Module:
        return objective.get_submodule("network")


study = Study(
    title="Mixers in a classifier of one's own",
    question="What does each mixer bring a small network that names 8 x 8 pixels of handwriting?",
    cells=[
        Cell(name=mixer, group="own", spec=ClassifierSpec(mixer=parse_mixer(mixer, heads=4)))
        for mixer in MIXERS
    ],
    seeds=(0, 1, 2),
    metric="accuracy",
    comparisons=[
        Comparison(left=mixer, right="w/o", group="own") for mixer in MIXERS if mixer != "w/o"
    ],
)
