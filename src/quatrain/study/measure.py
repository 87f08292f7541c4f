"""Latency, peak memory and missing costs of finished cells, one at a time, on an idle machine.

Measured after the study, since runs at the same time slow each other down. One forward pass of the
cell's objective on the task's example batch is measured, in evaluation mode and without gradients.
Its time does not depend on the weights, so these are initial ones. Costs that the record lacks,
such as `paper_multiply_adds` of an older record, are counted by the task.
"""

import os
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from quatrain.results import Measurement, ResultStore, RunState
from quatrain.specs import StudyError
from quatrain.study.grid import Run
from quatrain.study.load import load_study
from quatrain.study.provenance import device_name, versions
from quatrain.study.resources import available_cores

if TYPE_CHECKING:
    from quatrain.training import Task

_LARGEST_LOAD = 0.5
_WARMUP = 5
_ROUNDS = 30


@dataclass(frozen=True, kw_only=True)
class MeasurementSetup:
    """Where and how to measure."""

    study: Path
    store: ResultStore
    data: Path | None
    device: str
    threads: int
    count_only: bool = False
    """Count costs, and keep latency and memory of an earlier measurement."""


def check_idle(load: float | None = None, cores: int | None = None) -> None:
    """Check that the load average of the last minute is at most half of the cores."""
    load = os.getloadavg()[0] if load is None else load
    limit = _LARGEST_LOAD * (cores or available_cores())
    if load > limit:
        raise StudyError(
            f"the load average is {load:.2f}, and at most {limit:.2f} on an idle machine; wait a "
            "minute after other programs have ended, or add --busy to measure anyway",
            "load average",
        )


def measurable(runs: Sequence[Run], store: ResultStore) -> list[Run]:
    """The first finished run of each cell."""
    first: list[Run] = []
    covered: set[str] = set()
    for run in runs:
        if store.state(run.identity) == RunState.DONE and not covered.issuperset(run.labels):
            first.append(run)
            covered.update(run.labels)
    return first


def measure_run(run: Run, setup: MeasurementSetup) -> Measurement:
    """Measure one cell, count the costs that its record lacks, and write its measurement.json."""
    import torch

    earlier = setup.store.measurement(run.identity) if setup.count_only else None
    measurement = earlier or Measurement(
        device=device_name(setup.device), threads=setup.threads, versions=versions()
    )
    threads = torch.get_num_threads()
    try:
        with _opened(run, setup.data, setup.device, setup.threads) as (task, objective):
            update: dict[str, object] = {"cost": _missing_costs(run, task, objective, setup.store)}
            if not setup.count_only:
                update |= _time_and_memory(run, _forward_pass(task, objective, setup.device), setup)
    finally:
        torch.set_num_threads(threads)
    if any(value is not None for value in update.values()):
        measurement = Measurement.model_validate({**measurement.model_dump(), **update})
        setup.store.write_measurement(run.identity, measurement)
    return measurement


def _time_and_memory(
    run: Run, call: Callable[[], object], setup: MeasurementSetup
) -> dict[str, object]:
    from quatrain.cost import latency, peak_memory

    arguments = {
        "study": str(setup.study),
        "identity": run.identity,
        "seed": run.seed,
        "data": None if setup.data is None else str(setup.data),
        "device": setup.device,
        "threads": setup.threads,
    }
    time = latency(call, warmup=_WARMUP, rounds=_ROUNDS)
    peak = peak_memory("quatrain.study.measure:forward", arguments, device=setup.device)
    return {**vars(time), "peak_bytes": peak}


def _missing_costs(
    run: Run, task: "Task", objective: Any, store: ResultStore
) -> dict[str, float] | None:
    """The costs that the task counts and the record lacks; None if there are none."""
    record = store.record(run.identity)
    counted = {} if record is None else record.cost
    costs = {
        name: float(value) for name, value in task.cost(objective).items() if name not in counted
    }
    return costs or None


def forward(
    study: str, identity: str, seed: int, data: str | None, device: str, threads: int
) -> Callable[[], object]:
    """A forward pass of the objective of a run, for a child process that loads the study."""
    run = load_study(Path(study)).find(identity, seed)
    with _opened(run, Path(data) if data else None, device, threads) as (task, objective):
        return _forward_pass(task, objective, device)


@contextmanager
def _opened(
    run: Run, data: Path | None, device: str, threads: int
) -> Generator[tuple["Task", Any]]:
    """The task of a run and a new objective; torch uses this number of threads from now on."""
    import torch

    torch.set_num_threads(threads)
    with TemporaryDirectory() as folder:
        task = run.open(data, Path(folder))
        yield task, task.build().to(device).eval()


def _forward_pass(task: "Task", objective: Any, device: str) -> Callable[[], object]:
    import torch
    from accelerate.utils import send_to_device

    batch = send_to_device(task.example_batch(), device)

    def call() -> object:
        with torch.inference_mode():
            return objective(**batch)

    return call
