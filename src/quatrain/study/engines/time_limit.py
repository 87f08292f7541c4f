"""The time that a worker may need, from the finished runs of a folder.

    seconds = expected_seconds(study, store, runs, device="cuda:0", threads=1)
    seconds_of_a_worker(seconds, workers=4)

A worker needs the time of its longest run for each of its runs, and that of its start. Only runs
on the same type of device with as many threads count. A margin covers slower nodes. A worker that
needs more is stopped at its time limit, put into the queue again, and goes on from its checkpoint.
"""

import math
import re
from collections.abc import Sequence

from quatrain.results import Record, ResultStore
from quatrain.study.budget import Durations
from quatrain.study.finished import FinishedRuns
from quatrain.study.grid import Run, Study
from quatrain.study.manifest import runs_of_study

MARGIN = 1.5
"""The factor by which a run may take longer than the longest finished run of its cell."""

START_SECONDS = 600.0
"""For the start of a worker, and for the checkpoint that it writes before the time limit."""


def expected_seconds(
    study: Study, store: ResultStore, runs: Sequence[Run], *, device: str, threads: int
) -> list[float | None]:
    """The seconds of each run, from the longest finished run of its cell; None without any.

    Args:
        study: the study.
        store: its results.
        runs: the runs.
        device: the device of the runs; finished ones on a device of another type do not count.
        threads: threads of each process; finished runs with another number do not count.
    """

    def is_alike(record: Record) -> bool:
        return (_type_of(record.device), record.threads) == (_type_of(device), threads)

    all_runs, metric = runs_of_study(study, store, runs), study.compared_in or study.metric
    finished = FinishedRuns(store, all_runs, metric, is_alike)
    finished.update()
    durations = Durations(study, store, runs, finished)
    return [durations.of_cell(run) for run in runs]


def _type_of(device: str) -> str:
    """The type of a device: "cuda" of "cuda:1 (NVIDIA H100)"."""
    return re.split(r"[: ]", device, maxsplit=1)[0]


def seconds_of_a_worker(seconds: Sequence[float | None], workers: int) -> float | None:
    """The seconds that each of some workers may need for runs of these durations.

    None without runs, and if one of the durations is unknown: it could be any number of times
    as long as the others.

    Example:
        >>> seconds_of_a_worker([60.0, 3600.0, 120.0], workers=2)
        11400.0
    """
    known = [duration for duration in seconds if duration is not None]
    if not known or len(known) < len(seconds):
        return None
    return math.ceil(len(known) / workers) * MARGIN * max(known) + START_SECONDS
