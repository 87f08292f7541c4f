"""The training loop of every task, on one process or several.

    for step in state.step + 1 .. steps:
        seed from (seed, step, process)
        draw the step's term sets, if the recipe samples them
        sum the gradients of `accumulate` batches over all processes; divide by their weight
        clip, take an optimizer step, update the EMA
        at intervals: write a line of metrics.jsonl, validate, save a checkpoint

A run killed at any moment continues from its checkpoint to the same weights, bit for bit, on a
CPU with the same number of threads. Random numbers within a step, such as dropout or the sampled
anchors of a detector, depend on the number of processes.
"""

import time
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import AbstractContextManager, closing, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from quatrain.results.attempts import RunPaused
from quatrain.results.files import make_folder, remove_temporary_files
from quatrain.specs import DataError, SpecError, Term
from quatrain.switching import switch
from quatrain.training import checkpoint
from quatrain.training.checkpoint import TrainingObjects
from quatrain.training.devices import Devices
from quatrain.training.log import NAME as METRICS
from quatrain.training.log import MetricsLog
from quatrain.training.optimizer import ExponentialMovingAverage, make_optimizer
from quatrain.training.prefetch import Batch, prefetch
from quatrain.training.task import Loss, Progress, Task


class NonFiniteLoss(ArithmeticError):  # noqa: N818 - a public name
    """The loss, or a weight, is NaN or infinite."""


@dataclass(frozen=True)
class TrainingResult:
    """The trained objective in evaluation mode (its EMA, if the recipe has one)."""

    objective: nn.Module
    steps: int
    seconds: float
    notes: tuple[str, ...] = ()
    """Sentences about the run for the report, such as a training that changed no weight."""
    session_seconds: float | None = None
    """The part of `seconds` since the last checkpoint was loaded; None if it is unknown."""

    @property
    def weights(self) -> str:
        """The hash of the trained parameters."""
        return checkpoint.hash_of_weights(self.objective)


def train(
    task: Task,
    folder: Path,
    *,
    seed: int,
    device: str = "cpu",
    num_workers: int = 0,
    notify: Callable[[Progress], None] = lambda _: None,
    should_stop: Callable[[], bool] = lambda: False,
) -> TrainingResult:
    """Train a task's objective by its recipe, from the checkpoint in `folder` if there is one.

    Writes metrics.jsonl, checkpoint.safetensors and, at the end, model.safetensors.

    Args:
        task: Data, objective and recipe.
        folder: The run's folder; created if it does not exist.
        seed: Determines the initial weights and all random numbers of the training.
        device: The name of a torch device.
        num_workers: Processes that prefetch batches; their number changes no result.
        notify: Called at each line of the log.
        should_stop: Asked after each step, in every process; one that says yes ends the training
            of all with a checkpoint and `RunPaused`.

    Raises:
        RunPaused: if the training was asked to stop before its last step.
        NonFiniteLoss: if the loss is NaN or infinite.
        SpecError: if `accumulate` is not divisible by the number of processes, or the recipe has
            another number of them.
        StoredFileError: if the checkpoint is damaged.
        DataError: if there are no batches, or the data have changed since the checkpoint.
        StudyError: if the device does not exist, the folder cannot be written, or worker
            processes cannot be started.
    """
    make_folder(folder)
    torch.manual_seed(seed)
    recipe = task.recipe
    devices = Devices(
        device,
        recipe.precision,
        processes=recipe.processes,
        skips_weights=recipe.terms == "sampled",
    )
    trainer = _Trainer(task, folder, seed, devices, notify, should_stop)
    before = trainer.state.seconds
    with closing(trainer.batches(num_workers)) as batches:
        trainer.run(batches)
    objective, seconds = trainer.finish(), trainer.state.seconds
    return TrainingResult(objective, trainer.state.step, seconds, session_seconds=seconds - before)


def seed_step(seed: int, step: int, process: int) -> None:
    """Seed torch with a function of the run's seed, the step and the process."""
    mixed = (seed * 1_000_003 + step) * 8191 + process
    torch.manual_seed(mixed % (2**63))


class _Trainer:
    """One training: objective, optimizer, EMA, log and state.

    `evaluated` is the objective with the weights to evaluate: the EMA, or those of the last step.
    """

    def __init__(
        self,
        task: Task,
        folder: Path,
        seed: int,
        devices: Devices,
        notify: Callable[[Progress], None],
        should_stop: Callable[[], bool],
    ) -> None:
        if devices.is_main:
            for name in (checkpoint.NAME, checkpoint.MODEL, METRICS):
                remove_temporary_files(folder, name)  # temporary files of a killed training
        self.task, self.folder, self.seed = task, folder, seed
        self.recipe, self.devices, self.notify = task.recipe, devices, notify
        self.should_stop, self.is_stopping = should_stop, False
        self.share, left = divmod(self.recipe.accumulate, devices.processes)
        if left:
            raise SpecError(
                f"accumulate={self.recipe.accumulate} is not a multiple of the {devices.processes} "
                "processes; accumulate more batches, and use smaller ones to keep the size of a "
                "step",
                "Recipe.accumulate",
            )
        self.objective = self.evaluated = task.build().to(devices.device)
        self.optimizer = make_optimizer(self.recipe, self.objective)
        self.ema = None
        if self.recipe.average:
            self.ema = ExponentialMovingAverage(self.objective, self.recipe.average)
            self.evaluated = self.ema.module
        self.objects = TrainingObjects(
            model=self.objective,
            optimizer=self.optimizer,
            average=self.ema and self.ema.module,
            scaler=devices.scaler,
            data_hashes=task.data_hashes,
        )
        self.state = checkpoint.load(folder, self.objects, self.recipe)
        self.waited = 0.0
        self.wrapped = devices.wrap(self.objective)
        self.log = MetricsLog(folder, self.state.step) if devices.is_main else None
        self.started = time.perf_counter() - self.state.seconds

    def batches(self, num_workers: int) -> Generator[Batch]:
        """This process's batches from the current state on."""
        pin = self.devices.device.type == "cuda"
        return prefetch(self.task.collate, self._plans(), num_workers=num_workers, pin=pin)

    def run(self, batches: Iterator[Batch]) -> None:
        """Train to the last step."""
        recipe = self.recipe
        self.objective.train()
        while self.state.step < recipe.steps:
            step = self.state.step + 1
            seed_step(self.seed, step, self.devices.process)
            self.waited = 0.0
            loss = self._step(step, batches)
            self.state = self.state.after_step(
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
                self._validate()
            if step % recipe.checkpoint_every == 0 or last or self.is_stopping:
                self._save()
            if self.is_stopping and not last:
                raise RunPaused

    def finish(self) -> nn.Module:
        """Save the weights to evaluate, and return their objective in evaluation mode."""
        objective = self.evaluated.eval()
        if self.devices.is_main:
            checkpoint.save_model(self.folder, objective)
        self.devices.wait()
        return objective

    def _plans(self) -> Iterator[Any]:
        """This process's share of all batch plans, from the current state on.

        Shares are taken from the concatenated epochs, so that every process gets as many plans,
        whatever the number of batches in an epoch.
        """
        epoch = number = 0
        while True:
            plans = self.task.batches(epoch)
            if not plans:
                raise DataError(
                    "there are no training batches; add training data", "training batches"
                )
            for plan in plans:
                process = number % self.devices.processes
                if process == self.devices.process and number >= self.state.batches:
                    yield plan
                number += 1
            epoch += 1

    def _step(self, step: int, batches: Iterator[Batch]) -> Loss:
        learning_rate = self.recipe.rate(step)
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate * group["lr_scale"]
        self.optimizer.zero_grad(set_to_none=True)
        term_sets = self.recipe.term_sets(self.seed, step)
        losses = [
            self._backward(batches, term_sets, last=number == self.share)
            for number in range(1, self.share + 1)
        ]
        loss, weight = torch.stack(losses).sum(0).unbind()
        stop = torch.full_like(loss, float(self.should_stop()))
        total, weight, stop = self.devices.sum(torch.stack((loss, weight, stop))).unbind()
        self.is_stopping = bool(stop > 0)
        if not torch.isfinite(total):
            raise NonFiniteLoss(f"the loss is {float(total)} at step {step}")
        self.devices.step(self.optimizer, self.devices.processes / weight, self.recipe.clip_norm)
        if self.ema is not None:
            self.ema.update(self.objective, step)
        return Loss(total, weight)

    def _backward(
        self, batches: Iterator[Batch], term_sets: Sequence[Term | None], *, last: bool
    ) -> Tensor:
        """Add the next batch's gradients, the mean over term sets; return its loss and weight."""
        started, device = time.perf_counter(), self.devices.device
        batch = next(batches)
        self.waited += time.perf_counter() - started
        moved = {name: value.to(device, non_blocking=True) for name, value in batch.items()}
        losses: list[Tensor] = []
        for number, terms in enumerate(term_sets, 1):
            is_last = last and number == len(term_sets)
            with self._switched(terms), self.devices.synchronized(self.wrapped, last=is_last):
                with self.devices.autocast():
                    loss: Loss = self.wrapped(**moved)
                self.devices.backward(loss.total / len(term_sets))
            losses.append(torch.stack((loss.total.detach().float(), loss.weight.float())))
        return torch.stack(losses).mean(0)

    def _switched(self, terms: Term | None) -> AbstractContextManager[object]:
        if terms is None:
            return nullcontext()
        return switch(self.objective, terms, at=self.recipe.terms_at)

    def _report(self) -> None:
        """Write a line of the log and call `notify`."""
        state, self.state = self.state, self.state.after_report()
        if self.log is None:
            return
        self.log.write(
            state.step,
            loss=state.mean_loss,
            learning_rate=self.recipe.rate(state.step),
            rate=state.rate,
            waiting=state.waiting,
            seconds=state.seconds,
        )
        seconds_per_step = state.seconds / state.step
        self.notify(
            Progress(
                step=state.step,
                steps=self.recipe.steps,
                loss=state.mean_loss,
                rate=state.rate,
                rate_unit=f"{self.task.rate_unit}/s",
                seconds_left=seconds_per_step * (self.recipe.steps - state.step),
            )
        )

    def _validate(self) -> None:
        """Write the validation metrics; this does not affect the training."""
        started = self._seconds()
        with torch.no_grad():
            metrics = self.task.monitor(self.evaluated.eval())
        self.objective.train()
        if self.log is not None:
            self.log.write(self.state.step, seconds=self._seconds(), **metrics)
        self.state = self.state.after_validation(self._seconds() - started)

    def _save(self) -> None:
        # The gradient of a finite loss may not be finite; the previous checkpoint stays valid.
        if not all(torch.isfinite(weight).all() for weight in self.objective.parameters()):
            raise NonFiniteLoss(f"weights are not finite after step {self.state.step}")
        if self.devices.is_main:
            checkpoint.save(self.folder, self.state, self.objects)
        self.devices.wait()

    def _seconds(self) -> float:
        return time.perf_counter() - self.started
