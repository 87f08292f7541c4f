"""Latency and peak memory of finished cells, one at a time, on an idle machine.

Measured after the study, since runs at the same time slow each other down. One forward pass of the
cell's objective on the task's example batch is measured, in evaluation mode and without gradients.
Its time does not depend on the weights, so these are initial ones.
"""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from quatrain.results import Measurement, ResultStore, RunState
from quatrain.specs import StudyError
from quatrain.study.grid import Run
from quatrain.study.load import load_study
from quatrain.study.provenance import device_name, versions
from quatrain.study.resources import available_cores

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
    """Measure one cell and write its measurement.json."""
    import torch

    from quatrain.cost import latency, peak_memory

    arguments = {
        "study": str(setup.study),
        "identity": run.identity,
        "seed": run.seed,
        "data": None if setup.data is None else str(setup.data),
        "device": setup.device,
        "threads": setup.threads,
    }
    threads = torch.get_num_threads()
    try:
        call = _forward_of(run, setup.data, setup.device, setup.threads)
        time = latency(call, warmup=_WARMUP, rounds=_ROUNDS)
    finally:
        torch.set_num_threads(threads)
    measurement = Measurement(
        median_seconds=time.median_seconds,
        spread_seconds=time.spread_seconds,
        rounds=time.rounds,
        peak_bytes=peak_memory("quatrain.study.measure:forward", arguments, device=setup.device),
        device=device_name(setup.device),
        threads=setup.threads,
        versions=versions(),
    )
    setup.store.write_measurement(run.identity, measurement)
    return measurement


def forward(
    study: str, identity: str, seed: int, data: str | None, device: str, threads: int
) -> Callable[[], object]:
    """A forward pass of the objective of a run, for a child process that loads the study."""
    run = load_study(Path(study)).find(identity, seed)
    return _forward_of(run, Path(data) if data else None, device, threads)


def _forward_of(run: Run, data: Path | None, device: str, threads: int) -> Callable[[], object]:
    import torch

    torch.set_num_threads(threads)
    with TemporaryDirectory() as folder:
        task = run.open(data, Path(folder))
        objective = task.build().to(device).eval()
        batch = {name: value.to(device) for name, value in task.example_batch().items()}

    def call() -> object:
        with torch.inference_mode():
            return objective(**batch)

    return call
