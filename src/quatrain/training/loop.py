"""The training loop: the same for every task, on one process or many.

    for step in position+1 .. steps:
        seed from (seed, step, process)
        sum the gradients of `accumulate` batches, shared by the processes; divide by their weight
        clip, step, average the weights
        now and then: a line in metrics.jsonl, a validation, a checkpoint

A run killed at any moment continues from its checkpoint to the same weights, bit for bit, on a
CPU with the same number of threads.
"""

import time
from collections.abc import Callable, Generator, Iterator
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from quatrain.results.files import clear_unfinished, make_folder
from quatrain.specs import DataError, SpecError
from quatrain.training import checkpoint
from quatrain.training.checkpoint import Trained, seed_step
from quatrain.training.devices import Devices
from quatrain.training.ema import ExponentialMovingAverage
from quatrain.training.log import NAME as METRICS
from quatrain.training.log import MetricsLog
from quatrain.training.optimizer import make_optimizer
from quatrain.training.prefetch import Batch, prefetch
from quatrain.training.task import Loss, Progress, Task


class NonFiniteLoss(ArithmeticError):  # noqa: N818 - it names what was found
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
    num_workers: int = 0,
    notify: Callable[[Progress], None] = lambda _: None,
) -> TrainingResult:
    """Train the task's objective as its recipe says, from the checkpoint in `folder` if any.

    The trained weights are left in the folder's model.safetensors. `num_workers` processes
    prefetch batches; their number changes no result.

    Raises:
        NonFiniteLoss: if the loss is NaN or infinite.
        SpecError: if the processes cannot share a step's batches evenly, or lack the device.
        StoredFileError: if the checkpoint is damaged.
        DataError: if there is nothing to train on, or other data than before.
        StudyError: if the folder cannot be written, or workers cannot be started.
    """
    make_folder(folder)
    torch.manual_seed(seed)
    trainer = _Trainer(task, folder, seed, Devices(device, task.recipe.precision), notify)
    with closing(trainer.batches(num_workers)) as batches:
        trainer.run(batches)
    trainer.finish()
    return TrainingResult(trainer.objective, trainer.position.step, trainer.position.seconds)


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
        if devices.is_main:
            _clear_unfinished(folder)
        self.task, self.folder, self.seed = task, folder, seed
        self.recipe, self.devices, self.notify = task.recipe, devices, notify
        self.share = _share(self.recipe.accumulate, devices.processes)
        self.objective = task.build().to(devices.device)
        self.optimizer = make_optimizer(self.recipe, self.objective)
        self.average = ExponentialMovingAverage(self.objective, self.recipe.average)
        self.trained = Trained(
            self.objective, self.optimizer, self.average.tensors, devices.scaler, task.data_hashes
        )
        self.position = checkpoint.load(folder, self.trained, self.recipe)
        self.waited = 0.0
        self.wrapped = devices.wrap(self.objective)
        self.log = MetricsLog(folder, self.position.step) if devices.is_main else None
        self.started = time.perf_counter() - self.position.seconds

    def batches(self, num_workers: int) -> Generator[Batch]:
        """This process's batches, from where the training stands."""
        pin = self.devices.device.type == "cuda"
        return prefetch(self.task.collate, self._plans(), num_workers=num_workers, pin=pin)

    def run(self, batches: Iterator[Batch]) -> None:
        """Train to the last step."""
        recipe = self.recipe
        self.objective.train()
        while self.position.step < recipe.steps:
            step = self.position.step + 1
            seed_step(self.seed, step, self.devices.process)
            self.waited = 0.0
            loss = self._step(step, batches)
            self.position = self.position.advanced(
                total=float(loss.total),
                weight=float(loss.weight),
                batches=recipe.accumulate,
                seconds=self._seconds(),
                waited=self.waited,
            )
            last = step == recipe.steps
            if step % recipe.report_every == 0 or last:
                self._report()
            if recipe.monitor_every and (step % recipe.monitor_every == 0 or last):
                self._monitor()
            if step % recipe.checkpoint_every == 0 or last:
                self._save()

    def finish(self) -> None:
        """Leave the weights to be evaluated in the objective and in the folder."""
        self.average.install()
        self.objective.eval()
        if self.devices.is_main:
            checkpoint.save_model(self.folder, self.objective)
        self.devices.wait()

    def _plans(self) -> Iterator[Any]:
        """This process's share of all batches, from where the training stands.

        The shares are cut from the epochs laid end to end, so that every process takes as many,
        whatever the number of batches in an epoch.
        """
        epoch = number = 0
        while True:
            plans = self.task.batches(epoch)
            if not plans:
                raise DataError("training batches", "none", "at least one", "give training data")
            for plan in plans:
                mine = number % self.devices.processes == self.devices.process
                if mine and number >= self.position.batches:
                    yield plan
                number += 1
            epoch += 1

    def _step(self, step: int, batches: Iterator[Batch]) -> Loss:
        rate = self.recipe.rate(step)
        for group in self.optimizer.param_groups:
            group["lr"] = rate * group["lr_scale"]
        self.optimizer.zero_grad(set_to_none=True)
        losses = [
            self._gradients(self._next(batches), last=number == self.share)
            for number in range(1, self.share + 1)
        ]
        total, weight = self.devices.sum(torch.stack(losses).sum(0)).unbind()
        if not torch.isfinite(total):
            raise NonFiniteLoss(f"the loss is {float(total)} at step {step}")
        self.devices.step(self.optimizer, self.devices.processes / weight, self.recipe.clip_norm)
        self.average.update(step)
        return Loss(total, weight)

    def _next(self, batches: Iterator[Batch]) -> Batch:
        started = time.perf_counter()
        batch = next(batches)
        self.waited += time.perf_counter() - started
        return batch

    def _gradients(self, batch: Batch, *, last: bool) -> Tensor:
        """Add a batch's gradients to the parameters', and give its loss and weight."""
        with self.devices.synchronized(self.wrapped, last=last):
            with self.devices.autocast():
                loss: Loss = self.wrapped(**self.devices.move(batch))
            self.devices.backward(loss.total)
        return torch.stack((loss.total.detach().float(), loss.weight.float()))

    def _report(self) -> None:
        position, self.position = self.position, self.position.reported()
        if self.log is None:
            return
        self.log.write(
            position.step,
            loss=position.mean_loss,
            learning_rate=self.recipe.rate(position.step),
            rate=position.rate,
            waiting=position.waiting,
            seconds=position.seconds,
        )
        seconds_a_step = position.seconds / position.step
        self.notify(
            Progress(
                step=position.step,
                steps=self.recipe.steps,
                loss=position.mean_loss,
                rate=position.rate,
                rate_unit=f"{self.task.rate_unit}/s",
                seconds_left=seconds_a_step * (self.recipe.steps - position.step),
            )
        )

    def _monitor(self) -> None:
        """Look at the weights that would be evaluated; the training goes on as if nobody had."""
        started = self._seconds()
        self.objective.eval()
        with self.average.installed(), torch.no_grad():
            values = self.task.monitor(self.objective)
        self.objective.train()
        if self.log is not None:
            self.log.write(self.position.step, seconds=self._seconds(), **values)
        self.position = self.position.aside(self._seconds() - started)

    def _save(self) -> None:
        # A finite loss may have a gradient that is not; the checkpoint from before is still good.
        if not all(torch.isfinite(weight).all() for weight in self.objective.parameters()):
            raise NonFiniteLoss(f"weights are not finite after step {self.position.step}")
        if self.devices.is_main:
            checkpoint.save(self.folder, self.position, self.trained)
        self.devices.wait()

    def _seconds(self) -> float:
        return time.perf_counter() - self.started


def _clear_unfinished(folder: Path) -> None:
    """Remove what a killed training left half written; other files may be at work beside it."""
    for name in (checkpoint.NAME, checkpoint.MODEL, METRICS):
        clear_unfinished(folder, name, age=0.0)
    for name in (checkpoint.NAME, checkpoint.MODEL):
        with suppress(OSError):  # a file that cannot be removed does no harm
            (folder / f".{name}.tmp").unlink()  # as older versions called it


def _share(accumulate: int, processes: int) -> int:
    """How many of a step's batches each process takes, so that all together take the same.

    What is drawn at random within a step, as dropout or a detector's anchors, differs.
    """
    share, left = divmod(accumulate, processes)
    if left:
        raise SpecError(
            "Recipe.accumulate",
            accumulate,
            f"a multiple of the {processes} processes",
            "accumulate more batches, smaller ones if a step is to stay as it is",
        )
    return share
