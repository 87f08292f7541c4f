"""The task of a probe: one mixer, one question, and how often it is answered rightly.

    spec = ProbeSpec(probe=SaliencySpec(), mixer=parse_mixer("0010", heads=1))
    task = spec.open(data=None, folder=Path("run"), seed=0)

Every training batch is new; the held-out sequences are the same for every seed and mixer.

Shapes: b sequences, t tokens, f features.
"""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal, cast

import numpy as np
import torch
from jaxtyping import Int64
from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from quatrain.cost import count_multiply_adds, model_cost
from quatrain.nn import AttentionSpec, Mixer
from quatrain.specs import Spec
from quatrain.tasks.probes.locality import LocalitySpec
from quatrain.tasks.probes.network import ProbeNetwork
from quatrain.tasks.probes.offset import OffsetSpec
from quatrain.tasks.probes.pointer import PointerSpec
from quatrain.tasks.probes.recall import RecallSpec
from quatrain.tasks.probes.saliency import SaliencySpec
from quatrain.tasks.probes.sample import UNASKED, Samples, checked, commonest
from quatrain.training import Evaluation, Loss, Polynomial, Recipe

Probe = Annotated[
    SaliencySpec | OffsetSpec | PointerSpec | RecallSpec | LocalitySpec,
    Field(discriminator="kind"),
]

_HELD_OUT, _TRAINING = 0, 1
"""The first word of the seed: no batch shares its random numbers with the held-out part."""
_EPOCH = 100


class ProbeSpec(Spec):
    """A question, the mixer that is to answer it, and how it is trained."""

    kind: Literal["probe"] = "probe"
    probe: Probe = SaliencySpec()
    mixer: Mixer | None = AttentionSpec(heads=1)
    """What mixes the tokens; None for nothing."""
    channels: int = Field(default=64, ge=2)
    """Width of the embedding."""
    recipe: Recipe = Recipe(
        steps=400,
        learning_rate=1.5e-2,
        warmup_steps=20,
        schedule=Polynomial(power=1.0),
        clip_norm=1.0,
    )
    batch: int = Field(default=32, ge=1)
    """Sequences of a training batch."""
    held_out: int = Field(default=500, ge=1)
    """Sequences that the trained network is asked about."""

    def open(self, data: Path | None, folder: Path, seed: int) -> "ProbeTask":  # noqa: ARG002
        """Draw the held-out part; there is nothing to read and nothing to keep."""
        return ProbeTask(self, seed)


class ProbeObjective(nn.Module):
    """Cross entropy of the answers."""

    def __init__(self, network: ProbeNetwork) -> None:
        super().__init__()
        self.network = network

    def forward(self, tokens: Int64[Tensor, "b t f"], answers: Int64[Tensor, "b t"]) -> Loss:
        """The loss summed over the tokens that ask, and their number."""
        scores = self.network(tokens).flatten(0, 1)
        total = cross_entropy(scores, answers.flatten(), ignore_index=UNASKED, reduction="sum")
        return Loss(total, (answers != UNASKED).sum().float())


class ProbeTask:
    """A probe under one seed."""

    rate_unit = "answers"

    def __init__(self, spec: ProbeSpec, seed: int) -> None:
        self.spec, self.seed = spec, seed
        drawn = spec.probe.draw(np.random.default_rng([_HELD_OUT]), spec.held_out)
        self.held_out = checked(drawn, spec.probe.values)

    @property
    def recipe(self) -> Recipe:
        """How to train."""
        return self.spec.recipe

    @property
    def data_hashes(self) -> dict[str, str]:
        """SHA-256 of the held-out sequences and answers, by the name of the probe."""
        digest = hashlib.sha256()
        for part in self.held_out:
            digest.update(part.numpy().astype("<i8").tobytes())
        return {self.spec.probe.kind: digest.hexdigest()}

    @property
    def data_notes(self) -> dict[str, int]:
        """Nothing is left out or changed: the data are made."""
        return {}

    def build(self) -> ProbeObjective:
        """A fresh network under its loss."""
        probe, spec = self.spec.probe, self.spec
        return ProbeObjective(ProbeNetwork(probe.features, probe.values, spec.channels, spec.mixer))

    def batches(self, epoch: int) -> list[tuple[int, int]]:
        """The epoch and the number of each batch: all that it is drawn from, with the seed."""
        return [(epoch, number) for number in range(_EPOCH)]

    def collate(self, plan: tuple[int, int]) -> dict[str, Tensor]:
        """One training batch."""
        random = np.random.default_rng([_TRAINING, self.seed, *plan])
        return self.spec.probe.draw(random, self.spec.batch)._asdict()

    def monitor(self, objective: nn.Module) -> dict[str, float]:
        """Loss and accuracy on the held-out part, which decides nothing while training."""
        loss, accuracy = self._score(objective)
        return {"valid_loss": loss, "accuracy": accuracy}

    def evaluate(self, objective: nn.Module, folder: Path) -> Evaluation:  # noqa: ARG002
        """Right answers in percent, and how many would be right by counting alone."""
        loss, accuracy = self._score(objective)
        metrics = {
            "accuracy": accuracy,
            "counting": counting(self.held_out, self.spec.probe.values),
            "test_loss": loss,
        }
        return Evaluation(metrics)

    def cost(self, objective: nn.Module) -> dict[str, float]:
        """Parameters, and multiply-adds of one sequence."""
        network = _network(objective)
        tokens = self.held_out.tokens[:1].to(network.constant.device)
        return model_cost(network, count_multiply_adds(network, tokens))

    def probe_batch(self) -> Mapping[str, Tensor]:
        """A training batch."""
        return self.collate((0, 0))

    @torch.no_grad()
    def _score(self, objective: nn.Module) -> tuple[float, float]:
        """Cross entropy an answer, in nats, and right answers in percent."""
        network = _network(objective)
        tokens, answers = (part.to(network.constant.device) for part in self.held_out)
        asked = answers != UNASKED
        scores, wanted = network(tokens)[asked].float(), answers[asked]
        right = (scores.argmax(-1) == wanted).double().mean()
        return float(cross_entropy(scores, wanted)), 100 * float(right)


def counting(part: Samples, values: int) -> float:
    """Right answers in percent of whoever names the commonest value of each sequence.

    It is the best without any means to tell where or which: more than a blind guess, 1 in `values`.

    Raises:
        InputError: if answers are not of a type that can hold UNASKED, or are no values.
    """
    part = checked(part, values)
    asked = part.answers != UNASKED
    guessed = commonest(part.tokens[..., 0], values)[:, None].expand_as(part.answers)
    return 100 * float((guessed == part.answers)[asked].double().mean())


def _network(objective: nn.Module) -> ProbeNetwork:
    return cast("ProbeObjective", objective).network
