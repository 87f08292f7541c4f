"""The task of one run of an ablation: the user's functions, called with seeds and checks."""

import inspect
import math
import random
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate.utils import send_to_device
from torch import Tensor, nn

from quatrain.ablation.spec import AblationSpec, Functions
from quatrain.cost import count_multiply_adds, model_cost
from quatrain.insertion import find
from quatrain.insertion.example_pass import run_example
from quatrain.specs import InputError, QuatrainError, StudyError
from quatrain.specs.errors import shorten
from quatrain.training import Evaluation, NonFiniteLoss, Progress, TrainingResult, save_model
from quatrain.training.checkpoint import hash_of_weights, hashes_of_tensors
from quatrain.weights.tensor_file import check_storable

UNCHANGED = "the training changed no weight"
"""The note on a run whose `train` left all weights as they were."""

CHANGED = "evaluate changes the network, so metrics are not those of the weights that train left"
"""The note on a run whose `evaluate` changes parameters or buffers."""


def seed_everything(seed: int) -> None:
    """Seed the random numbers of Python, of numpy's global generator and of torch."""
    random.seed(seed)
    np.random.seed(seed % 2**32)  # noqa: NPY002 - the generator that the user's functions may use
    torch.manual_seed(seed)


class Network(nn.Module):
    """The user's network, whose inputs are named by their order or their keyword."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, **inputs: Any) -> object:
        """The output of the network for the inputs of `AblationTask.example_batch`."""
        positional = [inputs.pop(name) for name in sorted(filter(str.isdecimal, inputs), key=int)]
        return self.network(*positional, **inputs)


class AblationTask:
    """One run: build the network, insert the mixer, train and evaluate by the user's functions.

    Under one seed, cells start from equal weights wherever they have the same layers.
    """

    rate_unit = "examples"

    def __init__(self, spec: AblationSpec, functions: Functions, seed: int) -> None:
        self.spec, self.functions, self.seed = spec, functions, seed
        self.data_hashes: dict[str, str] = {}
        self.data_notes: dict[str, int] = {}

    def build(self) -> Network:
        """A new network with the mixer at its place.

        Raises:
            StudyError: if `build` returns no module, one that it has returned before, or one with
                tensors that are sparse or without values.
            InputError: if no module matches the place, or the mixer does not fit there.
        """
        seed_everything(self.seed)
        network: object = self.functions.build()
        if not isinstance(network, nn.Module):
            raise StudyError(
                f"build returned {_kind(network)}, not a torch.nn.Module; return the network",
                "build",
            )
        if network in self.functions.built:
            raise StudyError(
                "build returned a network that it had returned before, which has the mixers and "
                "the weights of another run; create a new network in each call",
                "build",
            )
        self.functions.built.add(network)
        self._check_weights(network)
        if self.spec.mixer is None:
            find(network, self.spec.place.pattern)  # which other cells need
        else:
            with _errors_of_example():
                self.spec.place.put(self.spec.mixer, network, self.functions.example, self.seed)
        return Network(network)

    def fit(
        self,
        folder: Path,
        *,
        seed: int,
        device: str,
        notify: Callable[[Progress], None],
    ) -> TrainingResult:
        """Train a new network by the user's function, and save its weights.

        A new network computes the example and is evaluated before, so that an error in one of
        these costs no training.
        `train` is called with the network, the seed and the device, and with the folder of the run
        if it has a parameter `folder`: files in it survive an interruption.

        Raises:
            StudyError: if the network fails on the example, or `evaluate` returns no metrics.
            NonFiniteLoss: if a weight is NaN or infinite after the training.
        """
        notify(_progress("evaluating before the training"))
        probe = self.build().to(device)
        with _errors_of_example():
            run_example(probe, (), self._inputs(torch.device(device)))
        notes = self._evaluate_before(probe.eval(), torch.device(device))
        objective = self.build().to(device)
        before = hash_of_weights(objective)
        named = {"folder": folder} if _has_folder(self.functions.train) else {}
        seed_everything(seed)
        notify(_progress("training"))
        started = time.perf_counter()
        self.functions.train(objective.network, seed, torch.device(device), **named)
        seconds = time.perf_counter() - started
        if not all(torch.isfinite(weight).all() for weight in objective.parameters()):
            raise NonFiniteLoss("weights are not finite after the training")
        if hash_of_weights(objective) == before:
            notes = (UNCHANGED, *notes)
        save_model(folder, objective.eval())
        return TrainingResult(objective, 0, seconds, notes)

    def evaluate(self, objective: Network, folder: Path) -> Evaluation:  # noqa: ARG002
        """The metrics that the user's function returns."""
        device = next(objective.parameters(), torch.empty(0)).device
        metrics = self._metrics(objective.network, device)
        for name, value in metrics.items():
            if not math.isfinite(value):
                raise StudyError(
                    f"evaluate returned {value} as {shorten(name)} after the training; return a "
                    "finite number, or leave the metric out",
                    "evaluate",
                )
        return Evaluation(metrics)

    def cost(self, objective: Network) -> dict[str, float]:
        """Parameters, and the multiply-adds of the example."""
        device = next(objective.parameters(), torch.empty(0)).device
        return model_cost(objective, count_multiply_adds(objective, **self._inputs(device)))

    def example_batch(self) -> dict[str, Any]:
        """The example, as the inputs of `Network`."""
        example = self.functions.example
        if isinstance(example, Mapping):
            return dict(example)
        inputs = example if isinstance(example, tuple) else (example,)
        return {str(number): value for number, value in enumerate(inputs)}

    def _check_weights(self, network: nn.Module) -> None:
        """Initialize lazy modules by the example, and check that weights are dense, with values."""
        if any(map(torch.nn.parameter.is_lazy, network.parameters())):
            with _errors_of_example():
                run_example(network, (), self.functions.example)
        try:
            check_storable(network.state_dict())
        except InputError as error:
            text = f"build returned a network that cannot be trained and saved: {error}"
            raise StudyError(text, "build") from error

    def _evaluate_before(self, probe: Network, device: torch.device) -> tuple[str, ...]:
        """Check the metrics of an untrained network; a note if `evaluate` changes it."""
        before = hashes_of_tensors(probe.network)
        self._metrics(probe.network, device)
        after = hashes_of_tensors(probe.network)
        changed = [name for name, value in before.items() if after.get(name) != value]
        more = ", ..." if len(changed) > 1 else ""
        return (f"{CHANGED} ({changed[0]}{more})",) if changed else ()

    def _inputs(self, device: torch.device) -> dict[str, Any]:
        """The example on a device."""
        inputs: Any = send_to_device(self.example_batch(), device)
        return inputs

    def _metrics(self, network: nn.Module, device: torch.device) -> dict[str, float]:
        metrics: object = self.functions.evaluate(network, device)
        if not isinstance(metrics, Mapping):
            raise StudyError(
                f"evaluate returned {_kind(metrics)}, not a dictionary of metrics; return "
                f'{{"{self.functions.metric}": ...}}',
                "evaluate",
            )
        numbers = {str(name): _number(str(name), value) for name, value in metrics.items()}
        if self.functions.metric not in numbers:
            names = ", ".join(numbers) or "none"
            raise StudyError(
                f"evaluate returned no {shorten(self.functions.metric)}, the metric of the study, "
                f"but {names}; return it, or change metric=",
                "evaluate",
            )
        return numbers


def _number(name: str, value: Any) -> float:
    try:
        return float(value)
    except (TypeError, ValueError, OverflowError, RuntimeError):
        raise StudyError(
            f"evaluate returned {_kind(value)} as {shorten(name)}; return one number", "evaluate"
        ) from None


def _kind(value: object) -> str:
    shape = f" of shape {tuple(value.shape)}" if isinstance(value, Tensor) else ""
    return f"{shorten(type(value).__name__)}{shape}"


def _has_folder(function: Callable[..., object]) -> bool:
    try:
        return "folder" in inspect.signature(function).parameters
    except (TypeError, ValueError):  # a function of C without a signature
        return False


@contextmanager
def _errors_of_example() -> Iterator[None]:
    """Name the example in errors of a network that computes it."""
    try:
        yield
    except (QuatrainError, OSError, MemoryError, torch.OutOfMemoryError):
        raise
    except Exception as error:
        raise StudyError(
            f"the network fails on example=: {error}; pass an input that its forward accepts",
            "example",
        ) from error


def _progress(text: str) -> Progress:
    return Progress(
        step=0, steps=0, loss=None, rate=0.0, rate_unit="", seconds_left=None, text=text
    )
