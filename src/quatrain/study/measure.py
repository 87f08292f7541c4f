"""Latency and peak memory of finished cells, one at a time, on a machine that does nothing else.

Taken after the study and not during it, because workers side by side slow each other down. What
is measured is one forward pass of the cell's objective on the task's probe batch, in evaluation
mode and without gradients. Its time does not depend on what was learnt, so the weights are fresh.
"""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import cast

from quatrain.results import Measurement, ResultStore, RunState
from quatrain.specs import StudyError
from quatrain.study.grid import Run, TaskSpec
from quatrain.study.load import load_study
from quatrain.study.provenance import device_name, versions
from quatrain.study.resources import available_cores

_BUSY = 0.5
_WARMUP = 5
_ROUNDS = 30


@dataclass(frozen=True, kw_only=True)
class Bench:
    """Where and how to measure."""

    study: Path
    store: ResultStore
    data: Path | None
    device: str
    threads: int


def check_idle(load: float | None = None, cores: int | None = None) -> None:
    """See that nothing else is at work here.

    Raises:
        StudyError: if the load average of the last minute says otherwise.
    """
    load = os.getloadavg()[0] if load is None else load
    limit = _BUSY * (cores or available_cores())
    if load > limit:
        raise StudyError(
            "load average",
            f"{load:.2f}",
            f"at most {limit:.2f}, an idle machine",
            "wait a minute after other programs have ended, or add --busy to measure all the same",
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


def measure_run(run: Run, bench: Bench) -> Measurement:
    """Measure one cell and write its measurement.json."""
    import torch

    from quatrain.cost import latency, peak_memory

    arguments = {
        "study": str(bench.study),
        "identity": run.identity,
        "seed": run.seed,
        "data": None if bench.data is None else str(bench.data),
        "device": bench.device,
        "threads": bench.threads,
    }
    before = torch.get_num_threads()
    try:
        call = _forward_of(run, bench.data, bench.device, bench.threads)
        timed = latency(call, warmup=_WARMUP, rounds=_ROUNDS)
    finally:
        torch.set_num_threads(before)
    measurement = Measurement(
        median_seconds=timed.median_seconds,
        spread_seconds=timed.spread_seconds,
        rounds=timed.rounds,
        peak_bytes=peak_memory("quatrain.study.measure:forward", arguments, device=bench.device),
        device=device_name(bench.device),
        threads=bench.threads,
        versions=versions(),
    )
    bench.store.write_measurement(run.identity, measurement)
    return measurement


def forward(
    study: str, identity: str, seed: int, data: str | None, device: str, threads: int
) -> Callable[[], object]:
    """A call that runs the objective of a run once, for a child process that reads the study."""
    run = load_study(Path(study)).find(identity, seed)
    return _forward_of(run, Path(data) if data else None, device, threads)


def _forward_of(run: Run, data: Path | None, device: str, threads: int) -> Callable[[], object]:
    import torch

    torch.set_num_threads(threads)
    with TemporaryDirectory() as folder:
        opened = cast("TaskSpec", run.spec).open(data, Path(folder), run.seed)
        objective = opened.build().to(device).eval()
        batch = {name: value.to(device) for name, value in opened.probe_batch().items()}

    def call() -> object:
        with torch.inference_mode():
            return objective(**batch)

    return call
