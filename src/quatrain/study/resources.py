"""How many workers, and how many threads each."""

import os
from dataclasses import dataclass

from quatrain.specs import StudyError


@dataclass(frozen=True)
class Resources:
    """Workers side by side, and the threads that each may use."""

    jobs: int
    threads: int


def available_cores() -> int:
    """The cores that this process may use, which can be fewer than the machine has."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def check_device(device: str) -> None:
    """Check that this machine has the device, without importing torch for the CPU.

    Raises:
        StudyError: if it does not.
    """
    if device != "cpu":
        from quatrain.training import devices

        devices.check_device(device)


def check_alone() -> None:
    """See that nobody starts a study as one of several processes that belong together.

    Raises:
        StudyError: under torchrun.
    """
    processes = os.environ.get("WORLD_SIZE", "1")
    if "RANK" in os.environ and processes != "1":
        expected = "one, since a run is the work of one process"
        remedy = (
            "start the study once for each GPU, with --device cuda:0, cuda:1 and so on, and the "
            "same --out: they share its runs"
        )
        raise StudyError("the number of processes", processes, expected, remedy)


def check_num_workers(num_workers: int) -> None:
    """Check that worker processes can be started; see `worker_start_method`.

    Raises:
        StudyError: if they cannot.
    """
    if num_workers:
        from quatrain.training.prefetch import worker_start_method

        worker_start_method(num_workers)


def allocate(
    runs: int,
    device: str,
    *,
    jobs: int | None = None,
    threads: int | None = None,
    cores: int | None = None,
) -> Resources:
    """Fill the cores.

    Small models gain more from a second run beside them than from a second thread, so on a CPU
    there is one worker per core as long as there are as many runs. `runs` counts the finished
    ones too: a study that is resumed keeps its threads, and with them its exact numbers.

    Raises:
        StudyError: if `jobs` or `threads` is below 1.
    """
    for field, value in (("jobs", jobs), ("threads", threads)):
        if value is not None and value < 1:
            raise StudyError(field, value, "a number from 1 up", f"change --{field}")
    cores = cores or available_cores()
    if jobs is None:
        jobs = _jobs(runs, device, threads, cores)
    return Resources(jobs, threads or max(1, cores // jobs))


def _jobs(runs: int, device: str, threads: int | None, cores: int) -> int:
    if device != "cpu":
        return 1
    if threads is not None:
        return max(1, min(runs, cores // threads))
    return cores if runs >= cores else 1
