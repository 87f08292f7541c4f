"""The training loop: the same for every task, on one process or many.

    for step in position+1 .. steps:
        seed from (seed, step, process)
        sum the gradients of `accumulate` batches, over all processes; divide by their weight
        clip, step, average the weights
        now and then: a line in metrics.jsonl, a validation, a checkpoint

A run killed at any moment continues from its checkpoint to the same weights, bit for bit, on a
CPU with the same number of threads.
"""

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from quatrain.training import checkpoint
from quatrain.training.checkpoint import Position, seed_step
from quatrain.training.devices import Devices
from quatrain.training.log import MetricsLog
from quatrain.training.recipe import Recipe
from quatrain.training.task import Loss, Progress, Task


class NonFiniteLoss(ArithmeticError):
    """The loss became NaN or infinite; nothing after that step would mean anything."""


@dataclass(frozen=True)
class TrainingResult:
    """The trained objective, with averaged weights where the recipe asks, and what it took."""

    objective: nn.Module
    steps: int
    seconds: float


def train(
    task: Task,
    folder: Path,
    *,
    seed: int,
    device: str = "cpu",
    notify: Callable[[Progress], None] = lambda _: None,
) -> TrainingResult:
    """Train the task's objective as its recipe says, from the checkpoint in `folder` if any.

    Raises:
        NonFiniteLoss: if the loss is NaN or infinite.
        StoredFileError: if the checkpoint is damaged.
    """
    torch.manual_seed(seed)
    trainer = _Trainer(task, folder, seed, Devices(device, task.recipe.precision), notify)
    trainer.run()
    trainer.use_average()
    return TrainingResult(
        trainer.objective.eval(), trainer.position.step, trainer.position.seconds
    )


class _Trainer:
    """The state of one training: objective, optimizer, average, log, position."""

    def __init__(
        self,
        task: Task,
        folder: Path,
        seed: int,
        devices: Devices,
        notify: Callable[[Progress], None],
    ) -> None:
        self.task, self.folder, self.seed = task, folder, seed
        self.recipe, self.devices, self.notify = task.recipe, devices, notify
        self.objective = devices.place(task.build())
        self.optimizer = _optimizer(self.recipe, self.objective)
        self.wrapped, self.optimizer = devices.prepare(self.objective, self.optimizer)
        self.average = _copy(self.objective) if self.recipe.average else {}
        self.position = checkpoint.load(folder, self.objective, self.optimizer, self.average)
        self.log = MetricsLog(folder, self.position.step) if devices.is_main else None
        self.started = time.perf_counter() - self.position.seconds

    def run(self) -> None:
        """Train to the last step."""
        recipe = self.recipe
        plans = self._plans()
        self.objective.train()
        window = _Window()
        while self.position.step < recipe.steps:
            step = self.position.step + 1
            seed_step(self.seed, step, self.devices.process)
            loss = self._step(step, [next(plans) for _ in range(recipe.accumulate)])
            window.add(loss)
            consumed = recipe.accumulate * self.devices.processes
            self.position = Position(step, self.position.batches + consumed, self._seconds())
            last = step == recipe.steps
            if step % recipe.report_every == 0 or last:
                self._report(window)
                window = _Window()
            if recipe.monitor_every and (step % recipe.monitor_every == 0 or last):
                self._monitor()
            if step % recipe.checkpoint_every == 0 or last:
                self._save()

    def use_average(self) -> None:
        """Put the averaged weights into the objective."""
        if self.average:
            self.objective.load_state_dict(self.average)

    def _plans(self) -> Iterator[Any]:
        """This process's share of all batches, from where the training stands."""
        skip, epoch = self.position.batches, 0
        while True:
            plans = self.task.batches(epoch)
            for number in range(skip, len(plans)):
                if number % self.devices.processes == self.devices.process:
                    yield plans[number]
            skip = max(skip - len(plans), 0)
            epoch += 1

    def _step(self, step: int, plans: list[Any]) -> Loss:
        rate = self.recipe.rate(step)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.optimizer.zero_grad(set_to_none=True)
        totals = []
        for number, plan in enumerate(plans):
            with self.devices.synchronized(self.wrapped, last=number == len(plans) - 1):
                loss: Loss = self.wrapped(**self.devices.move(self.task.collate(plan)))
                self.devices.backward(loss.total)
            totals.append(torch.stack((loss.total.detach().float(), loss.weight.float())))
        total, weight = self.devices.sum(torch.stack(totals).sum(0)).unbind()
        if not torch.isfinite(total):
            raise NonFiniteLoss(f"the loss is {float(total)} at step {step}")
        self.devices.step(self.optimizer, self.devices.processes / weight, self.recipe.clip_norm)
        self._update_average(step)
        return Loss(total, weight)

    def _update_average(self, step: int) -> None:
        if not self.average:
            return
        decay = min(self.recipe.average, (1 + step) / (10 + step))
        current = self.objective.state_dict()
        names = [name for name, value in self.average.items() if value.is_floating_point()]
        torch._foreach_lerp_(
            [self.average[name] for name in names], [current[name] for name in names], 1 - decay
        )

    def _report(self, window: "_Window") -> None:
        seconds_a_step = self.position.seconds / self.position.step
        left = seconds_a_step * (self.recipe.steps - self.position.step)
        if self.log is not None:
            self.log.write(
                self.position.step,
                loss=window.loss,
                learning_rate=self.recipe.rate(self.position.step),
                rate=window.rate,
                seconds=self.position.seconds,
            )
            self.notify(
                Progress(
                    step=self.position.step,
                    steps=self.recipe.steps,
                    loss=window.loss,
                    rate=window.rate,
                    rate_unit=f"{self.task.rate_unit}/s",
                    seconds_left=left,
                )
            )

    def _monitor(self) -> None:
        with self._averaged():
            values = self.task.monitor(self.objective)
        if self.log is not None:
            self.log.write(self.position.step, seconds=self._seconds(), **values)

    @contextmanager
    def _averaged(self) -> Iterator[None]:
        """Evaluate with the averaged weights, then train on with the current ones."""
        current = _copy(self.objective) if self.average else {}
        self.use_average()
        self.objective.eval()
        with torch.no_grad():
            yield
        if current:
            self.objective.load_state_dict(current)
        self.objective.train()

    def _save(self) -> None:
        if self.devices.is_main:
            checkpoint.save(
                self.folder, self.position, self.objective, self.optimizer, self.average
            )
        self.devices.wait()

    def _seconds(self) -> float:
        return time.perf_counter() - self.started


class _Window:
    """The mean loss and the speed since the last report."""

    def __init__(self) -> None:
        self.total = self.weight = 0.0
        self.started = time.perf_counter()

    def add(self, loss: Loss) -> None:
        self.total += float(loss.total)
        self.weight += float(loss.weight)

    @property
    def loss(self) -> float:
        return self.total / self.weight if self.weight else math.nan

    @property
    def rate(self) -> float:
        return self.weight / (time.perf_counter() - self.started)


def _copy(module: nn.Module) -> dict[str, Tensor]:
    return {name: value.detach().clone() for name, value in module.state_dict().items()}


def _optimizer(recipe: Recipe, module: nn.Module) -> torch.optim.Optimizer:
    parameters = [parameter for parameter in module.parameters() if parameter.requires_grad]
    if recipe.optimizer == "sgd":
        return torch.optim.SGD(
            parameters,
            lr=recipe.learning_rate,
            momentum=recipe.momentum,
            weight_decay=recipe.weight_decay,
        )
    return torch.optim.AdamW(
        parameters,
        lr=recipe.learning_rate,
        betas=recipe.betas,
        eps=recipe.epsilon,
        weight_decay=recipe.weight_decay,
        fused=True,
    )


