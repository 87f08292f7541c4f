"""Running a study: every selected run once, whatever happens in between.

    select -> leave out what is done -> workers take the rest -> wait for what others hold

Calling it again is always right: done runs are skipped, paused ones resume from their checkpoint,
failed ones are left alone unless a retry is asked for. Two runners on one folder share the work:
the lock in each run folder decides who has it. After a failure whose cause lies outside the
run (no such data, a full disk) no further run is begun.
"""

import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import chdir
from dataclasses import dataclass, field, replace
from pathlib import Path

from quatrain.results import Failure, ResultStore, RunState
from quatrain.study.changes import refuse_changed_code, runs_of_manifest
from quatrain.study.grid import Run, Study
from quatrain.study.load import load_study
from quatrain.study.messages import Event, Order
from quatrain.study.perform import KILLED, stands
from quatrain.study.placement import (
    Placement,
    check_alone,
    check_device,
    check_readers,
    place,
)
from quatrain.study.pool import WORKER, Ended, Pool

_LOOK_AGAIN_SECONDS = 0.5
_KEPT = {RunState.DONE, RunState.RUNNING}
"""States of runs that stay in the manifest when the study no longer names their seed."""


@dataclass(frozen=True, kw_only=True)
class Selection:
    """Which part of the study: globs of cell names, seeds, and whether failed runs are retried."""

    cells: Sequence[str] | None = None
    seeds: Sequence[int] | None = None
    retry_failed: bool = False


@dataclass(frozen=True)
class RunSummary:
    """What became of the selected runs: the event that closed each."""

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
        """The failure that kept the rest from being begun, if there was one."""
        return next((event for event in self.closed if event.outside), None)

    @property
    def failed(self) -> list[Event]:
        """Runs that failed, now or in an earlier sitting."""
        return [event for event in self.closed if event.kind == "failed"]


def run_study(
    path: Path,
    out: Path,
    *,
    data: Path | None = None,
    workers: int | None = None,
    threads: int | None = None,
    readers: int = 0,
    device: str = "cpu",
    select: Selection | None = None,
    notify: Callable[[Event], None] = lambda _: None,
    command: Sequence[str] = WORKER,
    study: Study | None = None,
) -> RunSummary:
    """Do all selected runs that are not done yet, and wait for those that others are doing.

    Args:
        path: the study file.
        out: the folder of the study; made if it is not there.
        data: given to every task.
        workers: processes side by side; by default what fills the cores.
        threads: of each worker; by default what fills the cores.
        readers: processes of each worker that make its batches ahead.
        device: as torch names it.
        select: by default everything.
        notify: is told each event, for a progress display.
        command: what starts a worker, without its arguments.
        study: what `path` defines, where it has been read already; read here by default.

    Raises:
        StudyError: if the study file or the selection cannot be used, or finished runs are of other
            code of the study's own specs.
        KeyboardInterrupt: after the workers have been stopped; their checkpoints stay.
    """
    select = select or Selection()
    path, out, data = path.absolute(), out.absolute(), data and data.absolute()
    check_alone()
    check_device(device)
    check_readers(readers)
    if study is None:
        with chdir("."):  # the study file may change the folder
            study = load_study(path)
    runs = study.select(select.cells, select.seeds)
    refuse_changed_code(ResultStore(out), runs)
    store = _prepared(out, study, runs)
    placement = place(len(runs), device, workers=workers, threads=threads)
    arguments = _arguments(path, out, data, device, placement, readers)
    pool = Pool(min(placement.workers, len(runs)), (*command, *arguments), out)
    dispatch = _Dispatch(store, runs, pool, select.retry_failed, notify)
    try:
        summary = dispatch.work()
        pool.close()
    except BaseException:
        pool.stop()
        raise
    _prepared(out, study, runs)  # another runner may have left out what was not done then
    return summary


def _arguments(
    path: Path,
    out: Path,
    data: Path | None,
    device: str,
    placement: Placement,
    readers: int,
) -> list[str]:
    given = [str(path), "--out", str(out), "--device", device]
    given += ["--threads", str(placement.threads), "--readers", str(readers)]
    return given if data is None else [*given, "--data", str(data)]


def _prepared(out: Path, study: Study, runs: Sequence[Run]) -> ResultStore:
    """The store, with the manifest of this study.

    Of seeds that are neither the study's own nor in `runs`, it has those that are done or at work.
    """
    store = ResultStore(out)
    with store.manifest_held():
        earlier = runs_of_manifest(study, store)
        kept = [each for each in earlier if store.state(each.identity) in _KEPT]
        code = None if study.code is None else study.code.files
        manifest = study.manifest([*runs, *kept])
        store.write_manifest(manifest.model_copy(update={"code": code}))
    return store


class _Dispatch:
    """Hands runs to idle workers and closes each run exactly once."""

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
        return None if self._retry else stands(run, self._store)

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

        One that died before its first event met something that the next would meet too.
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
