"""Jobs, threads and devices of a study, and checks that this machine has them."""

import os
from dataclasses import dataclass

from quatrain.specs import StudyError


@dataclass(frozen=True)
class Resources:
    """The number of runs at once, and the threads of each."""

    jobs: int
    threads: int


def available_cores() -> int:
    """The cores that this process may use, which can be fewer than the machine has."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def check_device(device: str, processes: int = 1) -> None:
    """Check that this machine has the devices of a run, without importing torch for the CPU."""
    if device != "cpu":
        from quatrain.training.devices import devices_of

        devices_of(device, processes)


def check_alone() -> None:
    """Check that the runner is not one of several processes started by torchrun."""
    processes = os.environ.get("WORLD_SIZE", "1")
    if "RANK" in os.environ and processes != "1":
        raise StudyError(
            f"the study was started in {processes} processes, but a study starts its own; start it "
            "once for each GPU, with --device cuda:0, cuda:1 and so on, and the same --out: they "
            "share its runs; Recipe(processes=...) trains one run on several GPUs",
            "WORLD_SIZE",
        )


def check_num_workers(num_workers: int) -> None:
    """Check that worker processes can be started; see `worker_start_method`."""
    if num_workers:
        from quatrain.training.prefetch import worker_start_method

        worker_start_method(num_workers)


def allocate(
    runs: int,
    device: str,
    *,
    jobs: int | None = None,
    threads: int | None = None,
    processes: int = 1,
    cores: int | None = None,
) -> Resources:
    """Choose jobs and threads that fill the cores.

    A small model gains more from a second run at the same time than from a second thread: on a CPU
    there is one job per core if there are as many runs. `runs` includes the finished ones: a study
    that is resumed keeps its number of threads, and with it its exact numbers.

    Raises:
        StudyError: if `jobs` or `threads` is below 1.
    """
    for field, value in (("jobs", jobs), ("threads", threads)):
        if value is not None and value < 1:
            raise StudyError(f"{field}={value} is below 1; change --{field}", field)
    cores = max(1, (cores or available_cores()) // processes)
    if jobs is None:
        if device != "cpu":
            jobs = 1
        elif threads is not None:
            jobs = max(1, min(runs, cores // threads))
        else:
            jobs = cores if runs >= cores else 1
    return Resources(jobs, threads or max(1, cores // jobs))
