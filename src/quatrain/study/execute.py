"""One run from beginning to end, inside its folder.

    claim the folder -> spec.json -> open the task -> train -> evaluate -> count -> record.json
                                                          (then the checkpoint goes)

What goes wrong in the run becomes failure.json and a `failed` event; the worker lives on. What
is wrong outside it (no such data, a full disk, a damaged checkpoint) is told and not kept,
because the next `study run` should simply try again.
"""

import traceback
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol, cast

from quatrain.results import Failure, Record, ResultStore, RunState, Session, write_atomically
from quatrain.results.reading import read_text
from quatrain.results.text import storable
from quatrain.specs import DataError, SpecError, StoredFileError, StudyError, identity
from quatrain.study.changes import refuse_half_trained
from quatrain.study.grid import Run, TaskSpec
from quatrain.study.protocol import TEXT_LIMIT, Event
from quatrain.study.provenance import device_name, versions
from quatrain.study.sessions import (
    earlier_failure,
    read_sessions,
    remove_checkpoint,
    write_sessions,
)

if TYPE_CHECKING:
    from quatrain.training import Evaluation, Progress, Task, TrainingResult

Reason = Literal["error", "non-finite loss", "out of memory", "killed"]
TRACEBACK_LIMIT = 100_000
"""Characters of a traceback in failure.json; of a longer one the middle is left out."""

_MOVE_AWAY = "move the folder away and run the study again"
_REASONS: dict[str, Reason] = {
    "NonFiniteLoss": "non-finite loss",
    "OutOfMemoryError": "out of memory",
    "MemoryError": "out of memory",
}


class Train(Protocol):
    """The signature of `quatrain.training.train`."""

    def __call__(
        self,
        task: "Task",
        folder: Path,
        *,
        seed: int,
        device: str,
        notify: "Callable[[Progress], None]",
    ) -> "TrainingResult":
        """Train the task's objective, resuming from the checkpoint in `folder`."""
        ...


@dataclass(frozen=True, kw_only=True)
class Site:
    """Where runs happen: nothing here decides a result."""

    store: ResultStore
    data: Path | None
    device: str
    threads: int
    commit: str | None
    train: Train

    def session(self, run: Run) -> Session:
        """What a record of `run` keeps of it."""
        return Session(
            versions=versions(),
            device=device_name(self.device),
            threads=self.threads,
            commit=self.commit,
            code=run.code.code if run.code else None,
            spec_code=run.code.spec_code if run.code else None,
        )


def execute_run(run: Run, site: Site, *, retry: bool, notify: Callable[[Event], None]) -> Event:
    """Do one run, unless its record exists or another process has it.

    Returns:
        The event that closes the run; exceptions of the task are recorded, not raised.

    Raises:
        StudyError: if the folder is of another spec, or its checkpoint of other code of the spec.
        StoredFileError: if the spec or the sessions in the folder are damaged.
    """
    nothing = Event(kind="held", identity=run.identity, label=run.label)
    with site.store.claim(run.identity) as held:
        if held is None:
            return nothing
        if site.store.state(run.identity) == RunState.DONE:
            return replace(nothing, kind="skipped")
        earlier = earlier_failure(run, site.store)
        if earlier is not None and not retry:
            return earlier
        check_spec(run, held)
        refuse_half_trained([run], site.store)
        site.store.clear_failure(run.identity)
        return _guarded(run, site, notify)


def check_spec(run: Run, folder: Path) -> None:
    """Write spec.json, unless one from before describes another run.

    Raises:
        StudyError: if it describes another run.
        StoredFileError: if it is no text.
    """
    path = folder / "spec.json"
    if path.exists():
        text = read_text(path, _MOVE_AWAY)
        try:
            stored = identity(type(run.spec).from_json(text), run.seed)
        except SpecError as error:
            raise _changed(path, str(error)) from error
        if stored != run.identity:
            raise _changed(path, f"identity {stored[:16]}")
    write_atomically(path, run.spec.to_json() + "\n")


def _changed(path: Path, found: str) -> StudyError:
    expected = f"the spec that gave the folder {path.parent.name} its name"
    return StudyError(str(path), found, expected, _MOVE_AWAY)


def _guarded(run: Run, site: Site, notify: Callable[[Event], None]) -> Event:
    """Carry the run out; turn any exception into failure.json."""
    latest = Event(kind="started", identity=run.identity, label=run.label)

    def listen(event: Event) -> None:
        nonlocal latest
        notify(event)
        latest = event

    notify(latest)
    try:
        _carry_out(run, site, listen)
    except KeyboardInterrupt:
        raise  # a signal to this worker, which ends: its runner notices, and the run may resume
    except BaseException as error:  # sys.exit() in a task, and the panics of libraries in Rust
        failure = Failure(
            reason=reason_of(error),
            message=text_of(error),
            traceback=storable(traceback.format_exc(), TRACEBACK_LIMIT),
            step=latest.step,
        )
        outside = is_outside(error)
        if not outside and not isinstance(error, StoredFileError):
            site.store.write_failure(run.identity, failure)
        return replace(
            latest,
            kind="failed",
            reason=failure.reason,
            message=failure.message,
            outside=outside,
        )
    return replace(latest, kind="done")


def text_of(error: BaseException) -> str:
    r"""What an exception says, as text that can be stored; the name of its class if nothing.

    Example:
        >>> text_of(ValueError("no file caf\udce9.txt")), text_of(SystemExit(3))
        ('no file caf\\udce9.txt', 'SystemExit: 3')
    """
    name = type(error).__name__
    try:
        text = str(error)
    except Exception as problem:
        text = f"{name}, whose text cannot be made: {type(problem).__name__} in its __str__"
    if text and not isinstance(error, Exception):
        text = f"{name}: {text}"
    return storable(text or name, TEXT_LIMIT)


def is_outside(error: BaseException) -> bool:
    """Whether the data or the disk is at fault, so that the next run would fail in the same way.

    A damaged file in the folder of one run is not: the other runs have their own.
    """
    if isinstance(error, StoredFileError):
        return False
    return isinstance(error, DataError | OSError) or isinstance(error.__cause__, OSError)


def reason_of(error: BaseException) -> Reason:
    """The kind of failure.

    Classes of torch and of the training loop are known by name, because naming them here would
    import torch.
    """
    for kind in type(error).__mro__:
        if kind.__name__ in _REASONS:
            return _REASONS[kind.__name__]
    # On a CPU torch raises a plain RuntimeError.
    return "out of memory" if "can't allocate memory" in text_of(error) else "error"


def _carry_out(run: Run, site: Site, notify: Callable[[Event], None]) -> None:
    folder = site.store.folder(run.identity)
    latest = Event(kind="progress", identity=run.identity, label=run.label)

    def listen(progress: "Progress") -> None:
        nonlocal latest
        latest = event_of(run, progress)
        notify(latest)

    notify(replace(latest, text="reading data"))
    task = cast("TaskSpec", run.spec).open(site.data, folder, run.seed)
    for what, times in task.data_notes.items():
        notify(replace(latest, kind="noted", message=f"{what}: {times:,}"))
    earlier = _begin_session(run, folder, site)
    result = site.train(task, folder, seed=run.seed, device=site.device, notify=listen)
    notify(replace(latest, text="evaluating"))
    evaluation = task.evaluate(result.objective, folder)
    site.store.write_record(_record(run, site, task, result, evaluation, earlier))
    remove_checkpoint(folder)


def _begin_session(run: Run, folder: Path, site: Site) -> tuple[Session, ...] | None:
    """Write where the run goes on; the earlier sessions elsewhere that made its checkpoint.

    None if the checkpoint is of an older version, which kept no sessions.
    """
    now = site.session(run)
    known = read_sessions(folder)
    if known is None:
        return None
    earlier = tuple(each for each in known if each != now)
    write_sessions(folder, (*earlier, now))
    return earlier


def event_of(run: Run, progress: "Progress") -> Event:
    """The training's progress as an event of this run."""
    return Event(
        kind="progress",
        identity=run.identity,
        label=run.label,
        step=progress.step,
        steps=progress.steps,
        loss=progress.loss,
        rate=progress.rate,
        rate_unit=progress.rate_unit,
        seconds_left=progress.seconds_left,
        text=progress.text,
    )


def _record(
    run: Run,
    site: Site,
    task: "Task",
    result: "TrainingResult",
    evaluation: "Evaluation",
    earlier: tuple[Session, ...] | None,
) -> Record:
    return Record(
        cell=run.labels[0],
        identity=run.identity,
        seed=run.seed,
        spec=run.spec.model_dump(mode="json"),
        spec_name=type(run.spec).__name__,
        metrics=evaluation.metrics,
        signatures=evaluation.signatures,
        cost=task.cost(result.objective),
        **dict(site.session(run)),
        earlier=earlier,
        data=task.data_hashes,
        test_data=getattr(task, "test_hashes", None),
        data_notes=task.data_notes,
        artifacts=evaluation.artifacts,
        steps=result.steps,
        seconds=result.seconds,
    )
