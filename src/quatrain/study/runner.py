"""Running a study: every selected run once, also if it is interrupted and started again.

    select -> leave out done runs -> workers do the rest -> wait for runs of other runners

It can be called again at any time: done runs are skipped, paused ones resume from their checkpoint,
failed ones are repeated only with `retry_failed`. Two runners on one folder share the runs: the
lock in each run folder decides which of them does it. After a failure whose cause lies outside the
run (no such data, a full disk) no further run is begun.
"""

import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import chdir
from dataclasses import dataclass, field, replace
from pathlib import Path

from quatrain.results import Failure, ResultStore, RunState
from quatrain.study.changes import refuse_changed_code
from quatrain.study.grid import Run, Study
from quatrain.study.load import load_study
from quatrain.study.manifest import manifest_written
from quatrain.study.pool import WORKER, Ended, Pool
from quatrain.study.protocol import Event, Order
from quatrain.study.resources import (
    Resources,
    allocate,
    check_alone,
    check_device,
    check_num_workers,
)
from quatrain.study.sessions import KILLED, earlier_failure

_LOOK_AGAIN_SECONDS = 0.5


@dataclass(frozen=True, kw_only=True)
class Selection:
    """Which part of the study: globs of cell names, seeds, and whether failed runs are retried."""

    cells: Sequence[str] | None = None
    seeds: Sequence[int] | None = None
    retry_failed: bool = False


@dataclass(frozen=True)
class RunSummary:
    """The result of `run_study`: the event that closed each selected run."""

    closed: list[Event] = field(default_factory=list)

    @property
    def done(self) -> list[Event]:
        """Runs that were finished now."""
        return [event for event in self.closed if event.kind == "done"]

    @property
    def skipped(self) -> list[Event]:
        """Runs that had been finished before, or by another process."""
        return [event for event in self.closed if event.kind == "skipped"]

    @property
    def obstacle(self) -> Event | None:
        """The failure after which no further run was begun, if there was one."""
        return next((event for event in self.closed if event.outside), None)

    @property
    def failed(self) -> list[Event]:
        """Runs that failed, now or earlier."""
        return [event for event in self.closed if event.kind == "failed"]


def run_study(
    path: Path,
    out: Path,
    *,
    data: Path | None = None,
    jobs: int | None = None,
    threads: int | None = None,
    num_workers: int = 0,
    device: str = "cpu",
    select: Selection | None = None,
    notify: Callable[[Event], None] = lambda _: None,
    command: Sequence[str] = WORKER,
    study: Study | None = None,
) -> RunSummary:
    """Do all selected runs that are not done yet, and wait for those of other runners.

    Args:
        path: the study file.
        out: the folder of the study; made if it is not there.
        data: the folder of data, passed to every task.
        jobs: runs at once; by default as many as fill the cores.
        threads: threads of each worker; by default as many as fill the cores.
        num_workers: processes of each run that prepare its batches.
        device: as torch names it.
        select: by default all runs.
        notify: called with each event, for a progress display.
        command: the command that starts a worker, without its arguments.
        study: the study of `path`, if it has been read already; by default it is read here.

    Raises:
        StudyError: if the study file or the selection cannot be used, or finished runs were made
            with other code of the study's own specs.
        KeyboardInterrupt: after the workers have been stopped; their checkpoints stay.
    """
    select = select or Selection()
    path, out, data = path.absolute(), out.absolute(), data and data.absolute()
    check_alone()
    check_device(device)
    check_num_workers(num_workers)
    if study is None:
        with chdir("."):  # the study file may change the folder
            study = load_study(path)
    runs = study.select(select.cells, select.seeds)
    store = ResultStore(out)
    refuse_changed_code(store, runs)
    resources = allocate(len(runs), device, jobs=jobs, threads=threads)
    arguments = _arguments(path, out, data, device, resources, num_workers)
    pool = Pool(min(resources.jobs, len(runs)), (*command, *arguments), out)
    dispatch = _Dispatch(store, runs, pool, select.retry_failed, notify)
    with manifest_written(store, study, runs):
        try:
            summary = dispatch.work()
            pool.close()
        except BaseException:
            pool.stop()
            raise
    return summary


def _arguments(
    path: Path,
    out: Path,
    data: Path | None,
    device: str,
    resources: Resources,
    num_workers: int,
) -> list[str]:
    given = [str(path), "--out", str(out), "--device", device]
    given += ["--threads", str(resources.threads), "--num-workers", str(num_workers)]
    return given if data is None else [*given, "--data", str(data)]


class _Dispatch:
    """Assigns runs to idle workers and closes each run exactly once."""

    def __init__(
        self,
        store: ResultStore,
        runs: Sequence[Run],
        pool: Pool,
        retry: bool,
        notify: Callable[[Event], None],
    ) -> None:
        self._store = store
        self._pool = pool
        self._retry = retry
        self._notify = notify
        self._summary = RunSummary()
        self._waiting = deque(runs)
        self._held: list[Run] = []
        self._busy: dict[int, Run] = {}
        self._steps: dict[int, int] = {}

    def work(self) -> RunSummary:
        while self._waiting or self._busy or self._held:
            self._fill()
            if self._busy:
                self._take(*self._pool.hear())
            elif self._held:
                time.sleep(_LOOK_AGAIN_SECONDS)
                self._waiting.extend(self._held)
                self._held.clear()
        return self._summary

    def _fill(self) -> None:
        """Give each idle worker the next run that needs one."""
        for worker in range(1, self._pool.size + 1):
            if worker in self._busy:
                continue
            run = self._next()
            if run is None:
                return
            self._busy[worker] = run
            order = Order(run.identity, run.seed, self._retry, run.label, run.spec_code)
            self._pool.give(worker, order)

    def _next(self) -> Run | None:
        while self._waiting:
            run = self._waiting.popleft()
            closing = self._settled(run)
            if closing is None:
                return run
            self._close(run, closing)
        return None

    def _settled(self, run: Run) -> Event | None:
        """The closing event of a run that needs no worker."""
        event = Event(kind="skipped", identity=run.identity, label=run.label)
        state = self._store.state(run.identity)
        if state == RunState.DONE:
            return event
        if state == RunState.RUNNING:
            return replace(event, kind="held")
        return None if self._retry else earlier_failure(run, self._store)

    def _take(self, worker: int, news: Event | Ended) -> None:
        run = self._busy.get(worker)
        if run is None:
            return
        if isinstance(news, Ended):
            news = self._bury(run, news, self._pool.log(worker), self._steps.get(worker, 0))
        elif news.identity != run.identity:
            return
        elif news.kind in {"done", "skipped"} and not self._is_done(run):
            message = f"there is no record in {self._store.folder(run.identity)} after the run"
            failure = Failure(reason="error", message=message, traceback="", step=news.step)
            news = self._fail(run, failure)
        news = replace(news, worker=worker, label=run.label)
        self._steps[worker] = news.step
        if news.closes:
            del self._busy[worker], self._steps[worker]
            self._close(run, news)
        else:
            self._notify(news)

    def _is_done(self, run: Run) -> bool:
        return self._store.state(run.identity) == RunState.DONE

    def _bury(self, run: Run, end: Ended, log: Path, step: int) -> Event:
        """The closing event of a run whose worker died.

        If it died before its first event, the cause lies outside the run.
        """
        when = "" if end.spoke else " before it began a run"
        message = f"{end.reason}{when}, see {log}; run the study again to resume"
        event = self._fail(run, Failure(reason=KILLED, message=message, traceback="", step=step))
        return replace(event, outside=event.kind == "failed" and not end.spoke)

    def _fail(self, run: Run, failure: Failure) -> Event:
        """Record the failure of a run, unless it is done or another process has it already."""
        event = Event(kind="held", identity=run.identity, label=run.label)
        with self._store.claim(run.identity) as held:
            if held is None:
                return event
            if self._is_done(run):
                return replace(event, kind="done")
            self._store.write_failure(run.identity, failure)
        fields = {"reason": failure.reason, "message": failure.message, "step": failure.step}
        return replace(event, kind="failed", **fields)

    def _close(self, run: Run, event: Event) -> None:
        if event.kind == "held":
            self._held.append(run)
            return
        self._summary.closed.append(event)
        self._notify(event)
        if event.outside:
            self._waiting.clear()
            self._held.clear()
