"""What the loop needs of a task, and what passes between them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from jaxtyping import Float
from torch import Tensor, nn

from quatrain.training.recipe import Recipe


class Loss(NamedTuple):
    """A loss summed over a batch, and how many things (tokens, boxes) it sums over.

    The loop divides by the weight of the whole step, over all processes and accumulated batches,
    so neither changes the gradient.
    """

    total: Float[Tensor, ""]
    weight: Float[Tensor, ""]


@dataclass(frozen=True)
class Evaluation:
    """Final metrics, what defines them exactly, and the files written beside the record."""

    metrics: dict[str, float]
    signatures: dict[str, str] = field(default_factory=dict)
    artifacts: tuple[str, ...] = ()


@dataclass(frozen=True)
class Progress:
    """Where a training stands, for whoever watches."""

    step: int
    steps: int
    loss: float | None
    rate: float
    rate_unit: str
    seconds_left: float | None
    text: str = ""


class Task(Protocol):
    """Data, objective and metric of one run.

    Everything random is a pure function of the seed given to `open` and of the arguments here, so
    that a run can be resumed at any step.
    """

    @property
    def recipe(self) -> Recipe:
        """How to train."""
        ...

    @property
    def rate_unit(self) -> str:
        """What the weight of a loss counts, in the plural: "target tokens"."""
        ...

    @property
    def data_hashes(self) -> dict[str, str]:
        """SHA-256 of each data file, by name."""
        ...

    @property
    def data_notes(self) -> dict[str, int]:
        """What of the data was left out or changed, and how often."""
        ...

    def build(self) -> nn.Module:
        """A fresh objective: a module from a batch to its `Loss`, around the model."""
        ...

    def batches(self, epoch: int) -> Sequence[Any]:
        """The plans of the epoch's batches, in order: cheap to make, independent of the device."""
        ...

    def collate(self, plan: Any) -> Mapping[str, Tensor]:
        """The batch of a plan, as the objective's keyword arguments, on the CPU."""
        ...

    def monitor(self, objective: nn.Module) -> dict[str, float]:
        """Validation metrics for the log, while training."""
        ...

    def evaluate(self, objective: nn.Module, folder: Path) -> Evaluation:
        """Final metrics; artifacts are written into `folder`."""
        ...

    def cost(self, objective: nn.Module) -> dict[str, float]:
        """Parameters and multiply-adds, counted and in closed form."""
        ...

    def probe_batch(self) -> Mapping[str, Tensor]:
        """A batch of typical size, for measuring latency and memory."""
        ...
