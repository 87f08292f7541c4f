"""Devices, precision and processes of a training.

One process by default. Under `torchrun` each process takes every n-th batch, and accelerate
averages gradients over processes. Precision is torch's own autocast, so that trainings in
different precisions can follow each other in one process.
"""

from contextlib import AbstractContextManager, nullcontext
from typing import cast

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.optim import Optimizer

from quatrain.specs import SpecError, StudyError
from quatrain.specs.errors import shorten
from quatrain.specs.extras import name_missing_extra

_AUTOCAST = {"float32": None, "bfloat16": torch.bfloat16, "float16": torch.float16}


def check_device(name: str) -> torch.device:
    """The device of this name, such as "cpu" or "cuda:0"; a StudyError if there is none."""
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:  # torch raises either
        reason = str(error).splitlines()[0].rstrip(".")
        raise StudyError(
            f'{shorten(name)} is not a device of this machine ({reason}); use "cpu" or correct '
            "the name",
            "device",
        ) from error
    return device


def devices_of(name: str, processes: int) -> list[torch.device]:
    """The device of each process of a training: the named one, and those after it.

    All processes use the one CPU.

    Raises:
        StudyError: if this machine has no such device, or fewer devices than processes from there.
    """
    first = check_device(name)
    if first.type == "cpu":
        return [first] * processes
    start = first.index or 0
    count = torch.get_device_module(first).device_count()
    if start + processes > count:
        raise StudyError(
            f"processes={processes} of the recipe from {name} on need {start + processes} devices, "
            f"and {count} can be used here; use a machine with more of them, or fewer processes",
            "Recipe.processes",
        )
    return [torch.device(first.type, start + number) for number in range(processes)]


class Devices:
    """Device, precision and processes of one training.

    Args:
        device: the name of a torch device.
        precision: the type of autocast.
        processes: the number of processes of the recipe; 1 for any.
        skips_weights: whether some steps use only a part of the weights, the same in all processes.

    Raises:
        StudyError: if there is no such device.
        SpecError: if the training has another number of processes.
    """

    def __init__(
        self, device: str, precision: str, *, processes: int = 1, skips_weights: bool = False
    ) -> None:
        requested = check_device(device)
        with name_missing_extra():
            from accelerate import Accelerator, DistributedDataParallelKwargs
        self._accelerator = Accelerator(
            cpu=requested.type == "cpu",
            device_placement=False,
            kwargs_handlers=[DistributedDataParallelKwargs(find_unused_parameters=skips_weights)],
        )
        self.process: int = self._accelerator.process_index
        self.processes: int = self._accelerator.num_processes
        self.is_main: bool = self._accelerator.is_main_process
        if processes not in {1, self.processes}:
            raise SpecError(
                f"processes={processes} of the recipe, but {self.processes} train; in a study give "
                "the spec the recipe as its field `recipe`, and in a script start it by torchrun "
                f"--nproc-per-node {processes}",
                "Recipe.processes",
            )
        # Under torchrun, accelerate assigns a device to each process.
        self.device: torch.device = requested if self.processes == 1 else self._accelerator.device
        self._autocast = _AUTOCAST[precision]
        self.scaler: torch.amp.GradScaler = torch.amp.GradScaler(
            self.device.type, enabled=precision == "float16"
        )

    def wrap(self, module: nn.Module) -> nn.Module:
        """Wrap a module so that its backward pass averages gradients over processes."""
        return self._accelerator.prepare(module)

    def autocast(self) -> AbstractContextManager[object]:
        """Compute in the training's precision."""
        if self._autocast is None:
            return nullcontext()
        return torch.autocast(self.device.type, self._autocast)

    def synchronized(self, module: nn.Module, *, last: bool) -> AbstractContextManager[None]:
        """Exchange gradients with the other processes after the last batch of a step only."""
        return nullcontext() if last else self._accelerator.no_sync(module)

    def backward(self, total: Float[Tensor, ""]) -> None:
        """Add the gradient of `total` to the parameters' gradients."""
        self.scaler.scale(total).backward()

    def step(
        self, optimizer: Optimizer, factor: Float[Tensor, ""], clip_norm: float | None
    ) -> None:
        """Multiply all gradients by `factor`, clip their norm, and take one optimizer step.

        In float16, a step whose gradients overflow is skipped, and the loss scale is lowered.
        """
        self.scaler.unscale_(optimizer)
        parameters = [p for group in optimizer.param_groups for p in group["params"]]
        for parameter in parameters:
            if parameter.grad is not None:
                parameter.grad.mul_(factor)
        if clip_norm is not None:
            nn.utils.clip_grad_norm_(parameters, clip_norm)
        self.scaler.step(optimizer)
        self.scaler.update()

    def sum(self, values: Float[Tensor, " n"]) -> Float[Tensor, " n"]:
        """The sum over processes."""
        return cast("Tensor", self._accelerator.reduce(values, "sum"))

    def wait(self) -> None:
        """Wait until every process has reached this call."""
        self._accelerator.wait_for_everyone()
