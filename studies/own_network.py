"""Which mixer improves a network of your own? An example with a small classifier of digits.

    quatrain study run studies/own_network.py --out OUT

Copy this file and replace the network and the data. The network does not import quatrain, and
`ClassifierTask` has everything that a study needs of a task. The data are the 1,797 images of 8 x 8
pixels of scikit-learn's digits: 1,297 for training, 250 for validation, 250 for testing. Five cells
and three seeds; a run takes 3 to 18 seconds on one core, the study 1 to 2 minutes on two.

Result: after 200 steps the plain network, with a receptive field of 5 x 5 pixels before the
average over positions, classifies 81 % of the test images correctly, and with any of the four
mixers 93 to 96 %. The study does not cover longer training.
"""

from pathlib import Path
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float, Int64
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from quatrain.cost import count_multiply_adds, model_cost
from quatrain.insertion import insert
from quatrain.nn import Mixer, parse_mixer
from quatrain.specs import Spec
from quatrain.study import Cell, Comparison, Study
from quatrain.training import Evaluation, Loss, Polynomial, Recipe

MIXERS = ("w/o", "0010", "0110", "1111", "deformable")
BATCH, TRAIN, VALID = 64, 1297, 250


class Classifier(nn.Module):
    """The network to study: from grey pixels to a score for each of ten digits."""

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
    """The training objective: from a batch to the sum of its losses and their number."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Float[Tensor, "n 1 h w"], labels: Int64[Tensor, " n"]) -> Loss:
        """Cross entropy."""
        total = cross_entropy(self.network(images), labels, reduction="sum")
        return Loss(total, torch.tensor(float(len(labels)), device=total.device))


class ClassifierSpec(Spec):
    """The hyper-parameters of a cell. Anything that is not a field must not vary."""

    kind: Literal["own classifier"] = "own classifier"
    mixer: Mixer | None = None
    """The mixer after the convolutions; None for none."""
    recipe: Recipe = Recipe(
        steps=200, learning_rate=1e-2, warmup_steps=20, schedule=Polynomial(power=1.0)
    )

    def open(self, data: Path | None, folder: Path, seed: int) -> "ClassifierTask":  # noqa: ARG002
        """Read the data; `data` is the path of `--data`, `folder` the folder of the run."""
        return ClassifierTask(self, seed)


class ClassifierTask:
    """The task of one run. Its randomness depends on the seed and the arguments only."""

    rate_unit = "images"

    def __init__(self, spec: ClassifierSpec, seed: int) -> None:
        self.recipe, self.spec, self.seed = spec.recipe, spec, seed
        self.data_hashes: dict[str, str] = {}  # SHA-256 of each file: runs on other data never mix
        self.data_notes: dict[str, int] = {}  # number of examples left out, by reason
        pixels, labels = load_digits(return_X_y=True)
        order = np.random.default_rng(0).permutation(len(labels))  # the same split for each seed
        self.images = torch.tensor(pixels[order] / 16).float().reshape(-1, 1, 8, 8)
        self.labels = torch.tensor(labels[order])

    def build(self) -> Objective:
        """A new network. With equal seeds, cells share the initial weights of common layers."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            network = Classifier()
        if self.spec.mixer is not None:
            insert(network, self.spec.mixer, after="features.3", example=self.images[:2])
        return Objective(network)

    def batches(self, epoch: int) -> list[list[int]]:
        """The indices of the images of each batch of an epoch."""
        order = np.random.default_rng([self.seed, epoch]).permutation(TRAIN).tolist()
        return [order[start : start + BATCH] for start in range(0, TRAIN, BATCH)]

    def collate(self, plan: list[int]) -> dict[str, Tensor]:
        """The batch of these indices, as keyword arguments of the objective."""
        return {"images": self.images[plan], "labels": self.labels[plan]}

    def monitor(self, objective: Objective) -> dict[str, float]:
        """Validation during training, every `monitor_every` steps of the recipe."""
        return {"valid_accuracy": self._accuracy(objective, TRAIN, TRAIN + VALID)}

    def evaluate(self, objective: Objective, folder: Path) -> Evaluation:  # noqa: ARG002
        """The final metrics; files written to `folder` may be named as artifacts."""
        return Evaluation({"accuracy": self._accuracy(objective, TRAIN + VALID, None)})

    def cost(self, objective: Objective) -> dict[str, float]:
        """The cost for one image."""
        network = objective.network
        example = self.images[:1].to(next(network.parameters()).device)
        return model_cost(network, count_multiply_adds(network, example))

    def example_batch(self) -> dict[str, Tensor]:
        """The batch of which `study measure` times a forward pass, without gradients."""
        return self.collate(list(range(BATCH)))

    @torch.no_grad()
    def _accuracy(self, objective: Objective, start: int, stop: int | None) -> float:
        """Top-1 accuracy in percent."""
        network = objective.network
        images, labels = self.images[start:stop], self.labels[start:stop]
        predictions = network(images.to(next(network.parameters()).device)).argmax(1).cpu()
        return 100 * float((predictions == labels).double().mean())


study = Study(
    title="Mixers in a classifier of one's own",
    question="What does each mixer bring a small network that names 8 x 8 pixels of handwriting?",
    cells=[
        Cell(name=mixer, group="own", spec=ClassifierSpec(mixer=parse_mixer(mixer, heads=4)))
        for mixer in MIXERS
    ],
    seeds=(0, 1, 2),
    metric="accuracy",
    margin=1.0,
    comparisons=[
        Comparison(left=mixer, right="w/o", group="own", expect="higher")
        for mixer in MIXERS
        if mixer != "w/o"
    ],
)
