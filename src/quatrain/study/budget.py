"""The time that a runner may take: it starts no run that would not end in time.

The duration of a run is the longest of the finished runs of its cell, or of the study if its cell
has none. While no run of the study is finished, durations are unknown, and any run may start. A
paused run takes the part of the time that its remaining steps are of all steps.
"""

import heapq
import math
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from quatrain.results import ResultStore, RunState
from quatrain.specs import StudyError
from quatrain.study.finished import FinishedRun, FinishedRuns
from quatrain.study.grid import Run, Study
from quatrain.study.manifest import runs_of_study
from quatrain.study.order import Queue
from quatrain.study.status import last_step


@dataclass(frozen=True)
class LeftOut:
    """A run that is not started, since it would not end in time."""

    label: str
    seconds: float | None
    """Its expected duration; None if it is unknown."""


class Durations:
    """The expected durations of runs, from the finished runs of a study."""

    def __init__(
        self, study: Study, store: ResultStore, runs: Iterable[Run], finished: FinishedRuns
    ) -> None:
        """`finished` may find more runs later."""
        self._store, self._finished = store, finished
        self._cells = {cell.label: study.identity(cell, 0) for cell in study.cells}
        self._cell_of = {
            run.identity: self._cells[run.labels[0]] for run in runs_of_study(study, store, runs)
        }
        self._longest: dict[str, FinishedRun] = {}
        self._counted: set[str] = set()
        self._steps: dict[str, int] = {}

    def seconds(self, run: Run) -> float | None:
        """The seconds that a run will take from now on; None while no run is finished."""
        own = self.of_cell(run)
        if own is not None:
            return own
        return max((other.seconds for other in self._longest.values()), default=None)

    def of_cell(self, run: Run) -> float | None:
        """The same from the finished runs of its own cell; None while it has none."""
        self._count()
        longest = self._longest.get(self._cells[run.labels[0]])
        if longest is None:
            return None
        part = max(0.0, 1 - self._steps_done(run) / max(1, longest.steps))
        return part * longest.training_seconds + longest.other_seconds

    def _count(self) -> None:
        """Take the runs into account that have finished since the last call."""
        by_identity = self._finished.by_identity
        if len(by_identity) == len(self._counted):
            return
        for identity in by_identity.keys() - self._counted:
            cell, new = self._cell_of[identity], by_identity[identity]
            before = self._longest.get(cell)
            if before is None or before.seconds < new.seconds:
                self._longest[cell] = new
        self._counted = set(by_identity)

    def _steps_done(self, run: Run) -> int:
        """The steps of a paused run; 0 for others."""
        if run.identity not in self._steps:
            is_paused = self._store.state(run.identity) is RunState.PAUSED
            step = last_step(self._store, run.identity) if is_paused else None
            self._steps[run.identity] = step or 0
        return self._steps[run.identity]


class Budget:
    """A number of seconds from now on."""

    def __init__(
        self,
        seconds: float,
        duration: Callable[[Run], float | None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Start the clock.

        Args:
            seconds: how long the budget lasts.
            duration: the expected seconds of a run; None if they are unknown.
            clock: the time in seconds.

        Raises:
            StudyError: if `seconds` is no positive number.
        """
        if not 0 < seconds < math.inf:
            raise StudyError(f"budget={seconds} is no positive number of seconds", "budget")
        self._duration, self._clock = duration, clock
        self._end = clock() + seconds

    @property
    def seconds_left(self) -> float:
        """The seconds until the end of the budget, 0 after it."""
        return max(0.0, self._end - self._clock())

    def allows(self, run: Run) -> bool:
        """Whether the run, started now, would end in time."""
        left = self.seconds_left
        return left > 0 and (self._duration(run) or 0.0) <= left

    def left_out(self, runs: Iterable[Run]) -> list[LeftOut]:
        """These runs with their expected durations."""
        return [LeftOut(run.label, self._duration(run)) for run in runs]


def runs_within(
    queue: Callable[[Callable[[Run], bool]], Queue],
    duration: Callable[[Run], float | None],
    seconds: float,
    jobs: int,
) -> list[Run]:
    """The runs that a budget allows, in the order of their start, if durations are as expected.

    Args:
        queue: makes the queue of the runs, given whether a run may start.
        duration: the expected seconds of a run; a run of unknown duration is left out.
        seconds: the budget.
        jobs: runs at once.
    """
    now = 0.0
    budget = Budget(seconds, duration, lambda: now)
    waiting = queue(lambda run: duration(run) is not None and budget.allows(run))
    free = [0.0] * jobs
    started: list[Run] = []
    while True:
        now = heapq.heappop(free)
        run = waiting.pop()
        if run is None:
            return started
        started.append(run)
        heapq.heappush(free, now + (duration(run) or 0.0))
