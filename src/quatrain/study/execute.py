"""Execution of one run in its folder.

    claim an attempt -> spec.json -> open the task -> train -> evaluate -> count -> record.json
                                        (then the attempt's files move to the folder of the run)

An error of the run becomes failure.json and a `failed` event; the worker continues. An error that
is external to the run (missing data or packages, a full disk, a damaged checkpoint) is reported and
not stored: the next `study run` tries again. A worker that was asked to stop leaves the run paused,
with a checkpoint.
"""

import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from quatrain.results import (
    Failure,
    Record,
    ResultStore,
    RunState,
    Session,
    join_names,
    write_atomically,
)
from quatrain.results.attempts import Attempt, RunPaused
from quatrain.results.files import read_text
from quatrain.results.record import Reason, storable
from quatrain.specs import (
    DataError,
    MissingPackageError,
    SpecError,
    StoredFileError,
    StudyError,
    identity,
)
from quatrain.study.changes import check_session_code
from quatrain.study.grid import Run, SelfTraining
from quatrain.study.protocol import TEXT_LIMIT, Description, Event
from quatrain.study.provenance import device_name, versions
from quatrain.study.sessions import (
    earlier_failure,
    read_sessions,
    write_sessions,
)
from quatrain.study.term_sets import evaluate_shared_weights

if TYPE_CHECKING:
    from quatrain.training import Evaluation, Progress, Task, TrainingResult

Train = Callable[..., "TrainingResult"]
"""The type of `quatrain.training.train`."""

TrainInProcesses = Callable[..., "TrainingResult"]
"""The type of `quatrain.study.processes.Launcher.train`."""

Fingerprint = Callable[["Task", str], tuple[float, ...] | None]
"""The type of `quatrain.training.fingerprint.fingerprint`: from a task and the name of a device."""

TRACEBACK_LIMIT = 100_000
"""Characters of a traceback in failure.json; the middle of a longer one is left out."""

_MOVE_AWAY = "move the folder away and run the study again"
_REASONS: dict[str, Reason] = {
    "NonFiniteLoss": "non-finite loss",
    "OutOfMemoryError": "out of memory",
    "MemoryError": "out of memory",
}


@dataclass(frozen=True, kw_only=True)
class Environment:
    """Where runs are executed; nothing in it decides a result."""

    store: ResultStore
    data: Path | None
    device: str
    threads: int
    commit: str | None
    train: Train
    train_in_processes: TrainInProcesses | None = None
    """For runs whose recipe has several processes."""
    fingerprint: Fingerprint | None = None
    """None for records without fingerprints."""
    should_stop: Callable[[], bool] = lambda: False
    """Whether the worker was asked to stop, which pauses its run."""

    def session(self, run: Run) -> Session:
        """The session of `run` in this environment, as its record stores it."""
        return Session(
            versions=versions(),
            device=device_name(self.device),
            threads=self.threads,
            commit=self.commit,
            code=run.code,
            spec_code=run.spec_code,
        )


def execute_run(
    run: Run, environment: Environment, *, retry: bool, notify: Callable[[Event], None]
) -> Event:
    """Execute one run, unless it has a record or another process executes it.

    Returns the final event of the run; exceptions of the task are stored, not raised.
    """
    store = environment.store
    with store.claim(run.identity) as attempt:
        if attempt is None:
            return run.event("locked")
        if store.state(run.identity) == RunState.DONE:
            return run.event("skipped")
        failure = earlier_failure(run, store)
        if failure is not None and not retry:
            return failure
        write_spec(run, store.folder(run.identity))
        check_session_code([run], store)
        store.clear_failure(run.identity)
        attempt.begin()
        return _Execution(run, environment, attempt, notify).event()


def write_spec(run: Run, folder: Path) -> None:
    """Write spec.json."""
    path = folder / "spec.json"
    if path.exists():
        text = read_text(path, _MOVE_AWAY)
        try:
            stored = identity(type(run.spec).from_json(text), run.seed)
        except SpecError as error:
            raise StudyError(f"{path}: {error}; {_MOVE_AWAY}", str(path)) from error
        if stored != run.identity:
            message = f"{path} describes the run {stored[:16]}, not {folder.name}; {_MOVE_AWAY}"
            raise StudyError(message, str(path))
    write_atomically(path, run.spec.to_json() + "\n")


class _Execution:
    """An attempt at a run: trains, evaluates, and turns any exception into a final event."""

    def __init__(
        self, run: Run, environment: Environment, attempt: Attempt, send: Callable[[Event], None]
    ) -> None:
        self._run, self._environment, self._attempt = run, environment, attempt
        self._send = send
        self._latest = run.event("started")

    def event(self) -> Event:
        """Execute the run and return its final event."""
        try:
            self._notify(self._latest)
            is_first = self._publish(self._train_and_evaluate())
        except KeyboardInterrupt:
            raise  # a signal to this worker, which ends: its runner notices, and the run may resume
        except BaseException as error:  # also sys.exit() in a task, and panics of libraries in Rust
            return self._after(error)
        return replace(self._latest, kind="done" if is_first else "skipped")

    def _notify(self, event: Event) -> None:
        if self._attempt.is_lost:
            raise RunPaused
        self._send(event)
        self._latest = event

    def _train_and_evaluate(self) -> Record:
        run, environment, folder = self._run, self._environment, self._attempt.folder
        progress = run.event("progress")

        def report(reported: "Progress") -> None:
            nonlocal progress
            progress = run.event("progress", **vars(reported))
            self._notify(progress)

        def report_of_own_loop(reported: "Progress") -> None:
            report(reported)
            if environment.should_stop():
                raise RunPaused

        started = time.perf_counter()
        self._notify(replace(progress, text="reading data"))
        task = run.open(environment.data, folder)
        for note, count in task.data_notes.items():
            self._notify(replace(progress, kind="note", message=f"{note}: {count:,}"))
        session = environment.session(run)
        earlier = _begin_session(session, folder)
        options = {"seed": run.seed, "device": environment.device}
        training = time.perf_counter()
        if isinstance(task, SelfTraining):
            result = task.fit(folder, **options, notify=report_of_own_loop)
        else:
            train = environment.train
            if run.processes > 1 and environment.train_in_processes is not None:
                train = partial(environment.train_in_processes, run)
            stop = environment.should_stop
            result = train(task, folder, **options, notify=report, should_stop=stop)
        training = time.perf_counter() - training
        if result.session_seconds is not None:  # without the start of processes
            training = result.session_seconds
        for note in result.notes:
            self._notify(replace(progress, kind="note", message=note))
        self._notify(replace(progress, text="evaluating"))
        evaluation = task.evaluate(result.objective, folder)
        record = _record(run, session, task, result, evaluation, earlier)
        added = {
            "term_sets": evaluate_shared_weights(task, result.objective),
            "weights": result.weights,
            "fingerprint": _fingerprint(run, task, environment),
            "attempt": self._attempt.number,
            "other_seconds": time.perf_counter() - started - training,
        }
        return record.model_copy(update=added)

    def _publish(self, record: Record) -> bool:
        """Write the record; False if another process has finished the run before.

        A different record of that process stands, and this one is kept next to it.
        """
        store = self._environment.store
        first = store.write_record(record)
        if first is record:
            return True
        names = ("metrics", "weights", "steps")
        differing = [name for name in names if getattr(record, name) != getattr(first, name)]
        if differing:
            path = store.folder(record.identity) / f"record-of-attempt-{record.attempt}.json"
            write_atomically(path, record.to_json())
            message = (
                f"another process finished {self._run.label} first, with other "
                f"{join_names(differing)}: its record stands, and this one is in {path}"
            )
            self._send(replace(self._latest, kind="note", message=message))
        return False

    def _after(self, error: BaseException) -> Event:
        """The final event after an exception."""
        store = self._environment.store
        if store.state(self._run.identity) is RunState.DONE:
            return self._run.event("skipped")
        if self._attempt.is_lost:
            return self._run.event("locked")
        if isinstance(error, RunPaused) or self._environment.should_stop():
            return replace(self._latest, kind="paused")
        described = describe(error)
        reason, message = described.reason, described.message
        if described.is_stored:
            failure = Failure(
                reason=reason,
                message=message,
                traceback=described.traceback,
                step=self._latest.step,
            )
            store.write_failure(self._run.identity, failure)
        event = replace(self._latest, kind="failed", reason=reason, message=message)
        return replace(event, external=described.external)


class ProcessError(Exception):
    """The failure of a process of a training, which has described it itself."""

    def __init__(self, described: Description) -> None:
        super().__init__(described.message)
        self.described = described


def describe(error: BaseException) -> Description:
    """The exception that is being handled, in words."""
    if isinstance(error, ProcessError):
        return error.described
    external = is_external(error)
    return Description(
        reason=reason_of(error),
        message=text_of(error),
        traceback=storable(traceback.format_exc(), TRACEBACK_LIMIT),
        external=external,
        is_stored=not external and not isinstance(error, StoredFileError),
    )


def text_of(error: BaseException) -> str:
    r"""The text of an exception, so that it can be stored; the name of its class if it is empty.

    Example:
        >>> text_of(ValueError("no file caf\udce9.txt")), text_of(SystemExit(3))
        ('no file caf\\udce9.txt', 'SystemExit: 3')
    """
    name = type(error).__name__
    try:
        text = str(error)
    except Exception as problem:
        text = f"{name} without a text: {type(problem).__name__} in its __str__"
    if text and not isinstance(error, Exception):
        text = f"{name}: {text}"
    return storable(text or name, TEXT_LIMIT)


def is_external(error: BaseException) -> bool:
    """Whether data, the disk or a missing package caused the error: other runs would fail too.

    A damaged file in the folder of a run concerns this run only.
    """
    if isinstance(error, StoredFileError):
        return False
    external = DataError | MissingPackageError | OSError
    return isinstance(error, external) or isinstance(error.__cause__, OSError)


def reason_of(error: BaseException) -> Reason:
    """The kind of failure.

    Classes of torch and of the training loop are recognized by name, without importing torch.
    """
    for kind in type(error).__mro__:
        if kind.__name__ in _REASONS:
            return _REASONS[kind.__name__]
    # On a CPU torch raises a plain RuntimeError.
    return "out of memory" if "can't allocate memory" in text_of(error) else "error"


def _fingerprint(run: Run, task: "Task", environment: Environment) -> tuple[float, ...] | None:
    """The fingerprint of the task, after the training, which it cannot change then.

    An objective may refuse random parameters or evaluation mode. Its run is finished nevertheless,
    so the error goes to the worker's log.
    """
    if environment.fingerprint is None:
        return None
    try:
        return environment.fingerprint(task, environment.device)
    except Exception:
        print(f"no fingerprint of {run.labels[0]}, seed {run.seed}:", file=sys.stderr)  # noqa: T201
        traceback.print_exc()
        return None


def _begin_session(session: Session, folder: Path) -> tuple[Session, ...] | None:
    """Store the session; return earlier ones of the checkpoint that differ from it.

    None if the checkpoint is of an old version, which stored no sessions.
    """
    stored = read_sessions(folder)
    if stored is None:
        return None
    earlier = tuple(other for other in stored if other != session)
    write_sessions(folder, (*earlier, session))
    return earlier


def _record(
    run: Run,
    session: Session,
    task: "Task",
    result: "TrainingResult",
    evaluation: "Evaluation",
    earlier: tuple[Session, ...] | None,
) -> Record:
    cost = task.cost(result.objective)
    uncounted = {
        f"operator without multiply-adds in the cost: {operator}": calls
        for value in cost.values()
        for operator, calls in getattr(value, "uncounted", {}).items()
    }
    return Record(
        cell=run.labels[0],
        identity=run.identity,
        seed=run.seed,
        spec=run.spec.model_dump(mode="json"),
        spec_name=type(run.spec).__name__,
        metrics=evaluation.metrics,
        signatures=evaluation.signatures,
        cost={name: float(value) for name, value in cost.items()},
        **dict(session),
        earlier=earlier,
        data=task.data_hashes,
        test_data=getattr(task, "test_hashes", None),
        data_notes={**task.data_notes, **uncounted},
        notes=result.notes,
        artifacts=evaluation.artifacts,
        steps=result.steps,
        seconds=result.seconds,
    )
