"""Devices, precision and processes, through accelerate.

One process by default; under `torchrun` each process takes every n-th batch, and gradients are
summed over processes.
"""

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState, GradientState, PartialState
from jaxtyping import Float
from torch import Tensor, nn
from torch.optim import Optimizer

from quatrain.specs import SpecError

_PRECISIONS = {"float32": "no", "bfloat16": "bf16", "float16": "fp16"}


class Devices:
    """Where one training runs, and in what precision."""

    def __init__(self, device: str, precision: str) -> None:
        kind = torch.device(device).type
        if kind == "cuda" and not torch.cuda.is_available():
            raise SpecError("device", device, "a device of this machine", 'use "cpu"')
        # accelerate keeps its settings for the life of a process; each training has its own.
        if not torch.distributed.is_initialized():
            PartialState._reset_state()
        AcceleratorState._reset_state()
        GradientState._reset_state()
        self._accelerator = Accelerator(
            cpu=kind == "cpu", mixed_precision=_PRECISIONS[precision]
        )
        self.process = self._accelerator.process_index
        self.processes = self._accelerator.num_processes
        self.is_main = self._accelerator.is_main_process

    def place(self, module: nn.Module) -> nn.Module:
        """The module, on this process's device."""
        return module.to(self._accelerator.device)

    def prepare(
        self, module: nn.Module, optimizer: Optimizer
    ) -> tuple[nn.Module, Optimizer]:
        """The module to call in training (it synchronises gradients), and its optimizer."""
        return self._accelerator.prepare(module, optimizer)

    def move(self, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The batch, on this process's device."""
        device = self._accelerator.device
        return {name: value.to(device, non_blocking=True) for name, value in batch.items()}

    def synchronized(self, module: nn.Module, *, last: bool) -> AbstractContextManager[None]:
        """Exchange gradients with the other processes after the last batch of a step only."""
        return nullcontext() if last else self._accelerator.no_sync(module)

    def backward(self, total: Float[Tensor, ""]) -> None:
        """Add the gradient of `total` to the parameters' gradients."""
        self._accelerator.backward(total)

    def step(
        self, optimizer: Optimizer, factor: Float[Tensor, ""], clip_norm: float | None
    ) -> None:
        """Multiply all gradients by `factor`, clip their norm, and take one optimizer step."""
        self._accelerator.unscale_gradients(optimizer)
        parameters = [p for group in optimizer.param_groups for p in group["params"]]
        gradients = [p.grad for p in parameters if p.grad is not None]
        torch._foreach_mul_(gradients, factor.to(gradients[0].dtype))
        if clip_norm is not None:
            nn.utils.clip_grad_norm_(parameters, clip_norm)
        optimizer.step()

    def sum(self, values: Float[Tensor, " n"]) -> Float[Tensor, " n"]:
        """The sum over processes."""
        return self._accelerator.reduce(values, "sum")

    def wait(self) -> None:
        """Let every process come this far."""
        self._accelerator.wait_for_everyone()
