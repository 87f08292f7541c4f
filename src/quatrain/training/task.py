"""The interface between tasks and the training loop."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from jaxtyping import Float
from torch import Tensor, nn

from quatrain.training.recipe import Recipe


class Loss(NamedTuple):
    """The sum of a loss over a batch, and the number of terms (tokens, boxes) in it.

    The loop divides by the weight of the whole step, so the gradient does not depend on how a step
    is divided into processes and accumulated batches.
    """

    total: Float[Tensor, ""]
    weight: Float[Tensor, ""]


@dataclass(frozen=True)
class Evaluation:
    """Final metrics, their signatures (exact definitions), and the names of files written."""

    metrics: dict[str, float]
    signatures: dict[str, str] = field(default_factory=dict)
    artifacts: tuple[str, ...] = ()


@dataclass(frozen=True)
class Progress:
    """Progress of a training, for displays."""

    step: int
    steps: int
    loss: float | None
    rate: float
    rate_unit: str
    seconds_left: float | None
    text: str = ""


class Task(Protocol):
    """Data, objective and metric of one run.

    All random numbers are pure functions of the seed given to `open` and of the arguments here, so
    that a run can be resumed at any step. An objective is a module that contains the model and
    maps a batch to its `Loss`.
    """

    recipe: Recipe
    rate_unit: str
    """The unit of a loss's weight, in the plural, such as "target tokens"."""
    data_hashes: dict[str, str]
    """SHA-256 of each data file, by name."""
    data_notes: dict[str, int]
    """The number of items of the data that were left out or changed, by description."""

    def build(self) -> nn.Module:
        """A new objective."""
        ...

    def batches(self, epoch: int) -> Sequence[Any]:
        """The plans of the epoch's batches, in order: small objects for `collate`."""
        ...

    def collate(self, plan: Any) -> Mapping[str, Tensor]:
        """The batch of a plan on the CPU: the keyword arguments of the objective."""
        ...

    def monitor(self, objective: Any) -> dict[str, float]:
        """Validation metrics, for the log during training."""
        ...

    def evaluate(self, objective: Any, folder: Path) -> Evaluation:
        """Final metrics; writes artifacts into `folder`."""
        ...

    def cost(self, objective: Any) -> dict[str, float]:
        """Parameters and multiply-adds, as `quatrain.cost.model_cost` gives them."""
        ...

    def example_batch(self) -> Mapping[str, Tensor]:
        """A batch of typical size, to measure latency and memory."""
        ...
