"""Devices, precision and processes.

One process by default; under `torchrun` each process takes every n-th batch, and gradients are
averaged over processes, through accelerate. Precision is torch's own autocast, so that trainings
in different precisions can follow each other in one process.
"""

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import cast

import torch
from accelerate import Accelerator
from jaxtyping import Float
from torch import Tensor, nn
from torch.optim import Optimizer

from quatrain.specs import SpecError

_AUTOCAST = {"float32": None, "bfloat16": torch.bfloat16, "float16": torch.float16}


class Devices:
    """Where one training runs, and in what precision.

    Raises:
        SpecError: if this machine has no such device.
    """

    def __init__(self, device: str, precision: str) -> None:
        wanted = _existing(device)
        self._accelerator = Accelerator(cpu=wanted.type == "cpu", device_placement=False)
        self.process = self._accelerator.process_index
        self.processes = self._accelerator.num_processes
        self.is_main = self._accelerator.is_main_process
        # Under torchrun, accelerate knows which of its devices is this process's.
        self.device = wanted if self.processes == 1 else self._accelerator.device
        self._autocast = _AUTOCAST[precision]
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=precision == "float16")

    def wrap(self, module: nn.Module) -> nn.Module:
        """The module to call in training: it synchronises gradients."""
        return self._accelerator.prepare(module)

    def move(self, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The batch, on this process's device."""
        return {name: value.to(self.device, non_blocking=True) for name, value in batch.items()}

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

        In float16 a step whose gradients overflowed is left out, and the next ones are scaled
        down.
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
        """Let every process come this far."""
        self._accelerator.wait_for_everyone()


def _existing(name: str) -> torch.device:
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:  # torch raises either
        reason = str(error).splitlines()[0].rstrip(".")
        raise SpecError(
            "device", name, f"a device of this machine ({reason})", 'use "cpu" or mend the name'
        ) from error
    return device
