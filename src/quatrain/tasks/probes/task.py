"""The task of a probe: accuracy of one mixer at one question.

    spec = ProbeSpec(probe=SaliencySpec(), mixer=parse_mixer("0010", heads=1))
    task = spec.open(data=None, folder=Path("run"), seed=0)

Training batches never repeat; the held-out sequences are the same for every seed and mixer.

Shapes: b sequences, t tokens, f features, v values.
"""

import hashlib
import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import torch
from jaxtyping import Float, Int64
from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from quatrain.cost import count_multiply_adds, model_cost
from quatrain.nn import AttentionSpec, Mixer
from quatrain.nn.layers import Projection
from quatrain.nn.parameters import initialize_by_name
from quatrain.specs import Spec
from quatrain.tasks.probes.extension_questions import (
    AbsenceSpec,
    AddressSpec,
    LongerSpec,
    ShiftedSpec,
)
from quatrain.tasks.probes.questions import (
    IGNORE_INDEX,
    LocalitySpec,
    OffsetSpec,
    PointerSpec,
    RecallSpec,
    SaliencySpec,
    Samples,
    most_common,
    validate,
)
from quatrain.training import Evaluation, Loss, Polynomial, Recipe, Task

_HELD_OUT, _TRAINING = 0, 1
"""First part of the seeds, so that held-out and training sequences differ."""
_BATCHES_PER_EPOCH = 100

Probe = Annotated[
    SaliencySpec
    | OffsetSpec
    | PointerSpec
    | RecallSpec
    | LocalitySpec
    | LongerSpec
    | AbsenceSpec
    | ShiftedSpec
    | AddressSpec,
    Field(discriminator="kind"),
]


class ProbeSpec(Spec):
    """A question, a mixer, and the training recipe."""

    kind: Literal["probe"] = "probe"
    probe: Probe = SaliencySpec()
    mixer: Mixer | None = AttentionSpec(heads=1)
    """Mixes the tokens; None for no mixer."""
    channels: int = Field(default=64, ge=2)
    """Channels of the embedding."""
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
    """Sequences of the test part."""

    def open(self, data: Path | None, folder: Path, seed: int) -> "ProbeTask":  # noqa: ARG002
        """Draw the held-out part; `data` and `folder` are not used."""
        return ProbeTask(self, seed)


class ProbeNetwork(nn.Module):
    """A mixer between the sum of embedded features and a linear score for each value.

    It has no residual connection, norm or hidden layer, so that only the mixer can combine tokens.
    `constant` is a component of all tokens, by which E1 includes E3, and E2 includes E4. Without a
    mixer (None) the scores of a token depend on that token alone.
    """

    def __init__(
        self, features: Sequence[int], values: int, channels: int, mixer: Mixer | None
    ) -> None:
        super().__init__()
        seed = int(torch.randint(2**62, (), device="cpu"))
        self.embedding: nn.Embedding = nn.Embedding(sum(features), channels)
        self.constant: nn.Parameter = nn.Parameter(torch.empty(channels))
        offsets = [0, *itertools.accumulate(features[:-1])]
        self.offsets: Tensor
        self.register_buffer("offsets", torch.tensor(offsets), persistent=False)
        self.mixer: Any = None if mixer is None else mixer.build(channels, ndim=1)
        self.readout: Projection = Projection(channels, values)
        initialize_by_name(self, seed)

    def reset_parameters(self) -> None:
        """Initialize the constant like an embedded feature; submodules initialize themselves."""
        nn.init.normal_(self.constant)

    def forward(self, tokens: Int64[Tensor, "b t f"]) -> Float[Tensor, "b t v"]:
        """The score of each value at each token."""
        x = self.embedding(tokens + self.offsets).sum(-2) + self.constant
        return self.readout(x if self.mixer is None else self.mixer(x))


class ProbeObjective(nn.Module):
    """Cross entropy of the answers."""

    def __init__(self, network: ProbeNetwork) -> None:
        super().__init__()
        self.network = network

    def forward(self, tokens: Int64[Tensor, "b t f"], answers: Int64[Tensor, "b t"]) -> Loss:
        """The loss summed over the tokens with a question, and their number."""
        scores = self.network(tokens).flatten(0, 1)
        total = cross_entropy(scores, answers.flatten(), ignore_index=IGNORE_INDEX, reduction="sum")
        return Loss(total, (answers != IGNORE_INDEX).sum().float())


class ProbeTask(Task):
    """A probe with one seed."""

    rate_unit = "answers"

    def __init__(self, spec: ProbeSpec, seed: int) -> None:
        self.spec: ProbeSpec = spec
        self.seed: int = seed
        self.recipe: Recipe = spec.recipe
        samples = spec.probe.draw_test(np.random.default_rng([_HELD_OUT]), spec.held_out)
        self.held_out: Samples = validate(samples, spec.probe.values)
        digest = hashlib.sha256()
        for tensor in self.held_out:
            digest.update(tensor.numpy().astype("<i8").tobytes())
        self.data_hashes: dict[str, str] = {spec.probe.kind: digest.hexdigest()}
        self.data_notes: dict[str, int] = {}

    def build(self) -> ProbeObjective:
        """A new network with its loss."""
        probe, spec = self.spec.probe, self.spec
        return ProbeObjective(ProbeNetwork(probe.features, probe.values, spec.channels, spec.mixer))

    def batches(self, epoch: int) -> list[tuple[int, int]]:
        """The epoch and the number of each batch, from which, with the seed, it is drawn."""
        return [(epoch, number) for number in range(_BATCHES_PER_EPOCH)]

    def collate(self, plan: tuple[int, int]) -> dict[str, Tensor]:
        """One training batch."""
        random = np.random.default_rng([_TRAINING, self.seed, *plan])
        return self.spec.probe.draw(random, self.spec.batch)._asdict()

    def monitor(self, objective: ProbeObjective) -> dict[str, float]:
        """Loss and accuracy on the held-out part, which do not affect the training."""
        loss, accuracy = self._score(objective)
        return {"valid_loss": loss, "accuracy": accuracy}

    def evaluate(self, objective: ProbeObjective, folder: Path) -> Evaluation:  # noqa: ARG002
        """Accuracy in percent, and that of counting alone."""
        loss, accuracy = self._score(objective)
        metrics = {
            "accuracy": accuracy,
            "counting": counting_accuracy(self.held_out, self.spec.probe.values),
            "test_loss": loss,
        }
        return Evaluation(metrics)

    def cost(self, objective: ProbeObjective) -> dict[str, float]:
        """Parameters, and multiply-adds of one sequence."""
        network = objective.network
        tokens = self.held_out.tokens[:1].to(network.constant.device)
        return model_cost(network, count_multiply_adds(network, tokens))

    def example_batch(self) -> dict[str, Tensor]:
        """A training batch."""
        return self.collate((0, 0))

    @torch.no_grad()
    def _score(self, objective: ProbeObjective) -> tuple[float, float]:
        """Cross entropy per answer, in nats, and accuracy in percent."""
        network = objective.network
        tokens, answers = (tensor.to(network.constant.device) for tensor in self.held_out)
        mask = answers != IGNORE_INDEX
        scores, labels = network(tokens)[mask].float(), answers[mask]
        accuracy = (scores.argmax(-1) == labels).double().mean()
        return float(cross_entropy(scores, labels)), 100 * float(accuracy)


def counting_accuracy(samples: Samples, values: int) -> float:
    """Accuracy in percent of answering with the most common value of each sequence.

    It is the best possible without position and content of single tokens, and above the accuracy
    of a random guess, 1 in `values`.
    """
    mask = samples.answers != IGNORE_INDEX
    guesses = most_common(samples.tokens[..., 0], values)[:, None].expand_as(samples.answers)
    return 100 * float((guesses == samples.answers)[mask].double().mean())
