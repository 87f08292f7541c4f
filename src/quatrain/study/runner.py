"""The runner: executes every selected run once, also if it is interrupted and started again.

    select -> skip finished runs -> workers execute the others -> wait for runs of other runners

It can be called again at any time: finished runs are skipped, paused ones resume from their
checkpoint, failed ones are repeated only with `retry_failed`. Two runners on one folder share the
runs: the lease of a run decides which of them executes it. After a failure that is external to its
run (missing data, a full disk) no further run is started. With a budget of time the most
informative runs are started first, and none that would not end in time.
"""

import signal
import threading
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import chdir, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from quatrain.results import Failure, ResultStore, RunState
from quatrain.results.files import make_folder
from quatrain.results.record import Reason
from quatrain.study.budget import Budget, Durations, LeftOut
from quatrain.study.changes import check_stored_code
from quatrain.study.finished import FinishedRuns
from quatrain.study.grid import Run, Study
from quatrain.study.load import load_study
from quatrain.study.manifest import maintained_manifest, runs_of_study
from quatrain.study.order import InformativeOrder, PlannedOrder, Queue
from quatrain.study.pool import STOP_SIGNALS, WORKER, Pool, WorkerExit
from quatrain.study.protocol import Event, Order
from quatrain.study.resources import (
    Resources,
    allocate,
    check_alone,
    check_device,
    check_num_workers,
)
from quatrain.study.sessions import KILLED, earlier_failure

_POLL_SECONDS = 0.5


@dataclass(frozen=True, kw_only=True)
class Selection:
    """Which part of the study: globs of cell names, seeds, and whether failed runs are retried."""

    cells: Sequence[str] | None = None
    seeds: Sequence[int] | None = None
    retry_failed: bool = False


@dataclass(frozen=True)
class RunSummary:
    """The result of `run_study`: the last event of each selected run."""

    events: list[Event] = field(default_factory=list)
    left_out: list[LeftOut] = field(default_factory=list)
    """Runs that would not have ended within the budget."""

    @property
    def done(self) -> list[Event]:
        """Runs that finished now."""
        return [event for event in self.events if event.kind == "done"]

    @property
    def skipped(self) -> list[Event]:
        """Runs that had finished before, or in another process."""
        return [event for event in self.events if event.kind == "skipped"]

    @property
    def failed(self) -> list[Event]:
        """Runs that failed, now or earlier."""
        return [event for event in self.events if event.kind == "failed"]

    @property
    def paused(self) -> list[Event]:
        """Runs whose worker was asked to stop: they resume from their checkpoint."""
        return [event for event in self.events if event.kind == "paused"]

    @property
    def external_failure(self) -> Event | None:
        """The failure after which no further run was started, if there was one."""
        return next((event for event in self.events if event.external), None)


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
    budget: float | None = None,
    wait: bool = True,
    logs: Path | None = None,
) -> RunSummary:
    """Execute all selected runs that are not done yet, and wait for those of other runners.

    Args:
        path: the study file.
        out: the folder of results, created if it is missing.
        data: the folder of data, passed to every task.
        jobs: runs at once; by default as many as fill the cores.
        threads: threads of each process of a run; by default as many as fill the cores.
        num_workers: processes that prepare batches, for each process of a run.
        device: as torch names it.
        select: by default all runs.
        notify: called with each event, for a progress display.
        command: the command that starts a worker, without its arguments.
        study: the study of `path`, if it is loaded already.
        budget: seconds; the most informative runs come first, and none that would end too late.
        wait: whether to wait for runs that other runners execute; they have no event without it.
        logs: the folder of the workers' logs, created if it is missing; by default `out`.

    Raises:
        StudyError: if an argument cannot be used, or finished runs have other code of their specs.
        KeyboardInterrupt: after the workers have been stopped; their checkpoints are kept.
    """
    select = select or Selection()
    path, out, data = path.absolute(), out.absolute(), data and data.absolute()
    _check_machine(device, num_workers)
    study = study or _load(path)
    runs = study.select(select.cells, select.seeds)
    store = ResultStore(out)
    check_stored_code(store, runs)
    resources = _resources(store, runs, device, jobs, threads)
    arguments = _arguments(path, out, data, device, resources.threads, num_workers)
    pool = Pool(min(resources.jobs, len(runs)), (*command, *arguments), logs or out)
    waiting = _queue(study, store, runs, budget)
    dispatch = _Dispatch(store, *waiting, pool, select.retry_failed, notify, wait=wait)
    make_folder(logs or out)
    with stop_on_signals(), maintained_manifest(store, study, runs):
        try:
            summary = dispatch.execute()
            pool.close()
        except BaseException:
            pool.stop()
            raise
    return summary


def _check_machine(device: str, num_workers: int) -> None:
    """Check that this process can start workers with these options."""
    check_alone()
    check_device(device)
    check_num_workers(num_workers)


def _resources(
    store: ResultStore, runs: Sequence[Run], device: str, jobs: int | None, threads: int | None
) -> Resources:
    """Jobs and threads for runs; those that are left need the devices of their processes."""
    left = [run for run in runs if store.state(run.identity) is not RunState.DONE]
    check_device(device, max((run.processes for run in left), default=1))
    processes = max(run.processes for run in runs)
    return allocate(len(runs), device, jobs=jobs, threads=threads, processes=processes)


def _arguments(
    path: Path, out: Path, data: Path | None, device: str, threads: int, num_workers: int
) -> list[str]:
    """The arguments of a worker process."""
    arguments = [str(path), "--out", str(out), "--device", device]
    arguments += ["--threads", str(threads), "--num-workers", str(num_workers)]
    return arguments if data is None else [*arguments, "--data", str(data)]


@contextmanager
def stop_on_signals() -> Generator[None]:
    """Let the signals that ask for a stop act as Ctrl-C in the block, in the main thread."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(_number: int, _frame: object) -> None:
        raise KeyboardInterrupt

    before = {number: signal.signal(number, stop) for number in STOP_SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _load(path: Path) -> Study:
    """Load the study file, which may change the current folder."""
    with chdir("."):
        return load_study(path)


def _queue(
    study: Study, store: ResultStore, runs: Sequence[Run], seconds: float | None
) -> tuple[Queue, Budget | None]:
    """The runs in the order of the study; with a budget the most informative first."""
    if seconds is None:
        return PlannedOrder(runs), None
    metric = study.compared_in or study.metric
    finished = FinishedRuns(store, runs_of_study(study, store, runs), metric)
    budget = Budget(seconds, Durations(study, store, runs, finished).seconds)
    return InformativeOrder(study, store, runs, finished, budget.allows), budget


class _Dispatch:
    """Assigns runs to idle workers and ends each run with exactly one final event."""

    def __init__(
        self,
        store: ResultStore,
        queue: Queue,
        budget: Budget | None,
        pool: Pool,
        retry: bool,
        notify: Callable[[Event], None],
        *,
        wait: bool,
    ) -> None:
        self._store = store
        self._pool = pool
        self._retry = retry
        self._wait = wait
        self._notify = notify
        self._summary = RunSummary()
        self._waiting = queue
        self._budget = budget
        self._locked: list[Run] = []
        """Runs that other processes execute."""
        self._active: dict[int, Run] = {}
        """By worker."""
        self._steps: dict[int, int] = {}

    def execute(self) -> RunSummary:
        while True:
            self._assign()
            if self._active:
                self._handle(*self._pool.next_event())
            elif self._waits_for_others():
                time.sleep(_POLL_SECONDS)
                self._waiting.put(self._locked)
                self._locked.clear()
            else:
                self._leave_out()
                return self._summary

    def _waits_for_others(self) -> bool:
        """Whether to look again at the runs that other processes execute."""
        if not self._locked or (self._budget is not None and not self._budget.seconds_left):
            return False
        return self._wait or self._is_any_free()

    def _leave_out(self) -> None:
        """End the runs that wait although no worker is active: the budget excludes them."""
        left: list[Run] = []
        for run in self._waiting.clear():
            event = self._event_without_worker(run)
            if event is None:
                left.append(run)
            else:
                self._finish(run, event)
        if self._budget is not None:
            self._summary.left_out.extend(self._budget.left_out(left))

    def _assign(self) -> None:
        """Give each idle worker the next run that needs one."""
        for worker in range(1, self._pool.size + 1):
            if worker in self._active:
                continue
            run = self._next()
            if run is None:
                return
            self._active[worker] = run
            order = Order(run.identity, run.seed, self._retry, run.label, run.spec_code)
            self._pool.send(worker, order)

    def _next(self) -> Run | None:
        while (run := self._waiting.pop()) is not None:
            event = self._event_without_worker(run)
            if event is None:
                return run
            self._finish(run, event)
        return None

    def _event_without_worker(self, run: Run) -> Event | None:
        """The final event of a run that needs no worker."""
        state = self._store.state(run.identity)
        if state == RunState.DONE:
            self._store.settle(run.identity)
            return run.event("skipped")
        if state == RunState.RUNNING:
            return run.event("locked")
        return None if self._retry else earlier_failure(run, self._store)

    def _handle(self, worker: int, event: Event | WorkerExit) -> None:
        run = self._active.get(worker)
        if run is None:
            return
        if isinstance(event, WorkerExit):
            event = self._fail_after_exit(
                run, event, self._pool.log(worker), self._steps.get(worker, 0)
            )
        elif event.identity != run.identity:
            return
        elif event.kind in {"done", "skipped"} and not self._is_done(run):
            message = f"there is no record in {self._store.folder(run.identity)} after the run"
            event = self._fail(run, "error", message, event.step)
        event = replace(event, worker=worker, label=run.label)
        self._steps[worker] = event.step
        if event.is_final:
            del self._active[worker], self._steps[worker]
            self._finish(run, event)
        else:
            self._notify(event)

    def _is_any_free(self) -> bool:
        """Whether a run of another process is not executed now, or perhaps not for much longer."""
        identities = [run.identity for run in self._locked]
        return any(
            self._store.state(identity) is not RunState.RUNNING or self._store.may_expire(identity)
            for identity in identities
        )

    def _is_done(self, run: Run) -> bool:
        return self._store.state(run.identity) == RunState.DONE

    def _fail_after_exit(self, run: Run, end: WorkerExit, log: Path, step: int) -> Event:
        """The final event of a run whose worker ended.

        If it ended before its first event, the cause is external to the run.
        """
        when = "" if end.sent_events else " before it began a run"
        message = f"{end.reason}{when}, see {log}; run the study again to resume"
        event = self._fail(run, KILLED, message, step)
        return replace(event, external=event.kind == "failed" and not end.sent_events)

    def _fail(self, run: Run, reason: Reason, message: str, step: int) -> Event:
        """Record the failure of a run, unless it is done or another process executes it already."""
        with self._store.claim(run.identity) as attempt:
            if attempt is None:
                return run.event("locked")
            if self._is_done(run):
                return run.event("done")
            failure = Failure(reason=reason, message=message, traceback="", step=step)
            self._store.write_failure(run.identity, failure)
        return run.event("failed", reason=reason, message=message, step=step)

    def _finish(self, run: Run, event: Event) -> None:
        if event.kind == "locked":
            self._locked.append(run)
            return
        self._summary.events.append(event)
        self._notify(event)
        if event.external:
            self._waiting.clear()
            self._locked.clear()
