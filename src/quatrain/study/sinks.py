"""Logged numbers of runs in TensorBoard and trackio, written by the runner.

    OUT/tensorboard/<cell>-<identity>/events.out...     tensorboard --logdir OUT/tensorboard
    OUT/trackio/<project>.db                            TRACKIO_DIR=OUT/trackio trackio show
    OUT/tensorboard/written/<identity>.json             the last step that was written

The runner reads the lines that a training adds to metrics.jsonl when its worker reports progress,
and the metrics of the record when the run is done; the training loop does not know of it. A resumed
run continues its curves, and runs that were done before are written once.
"""

import io
import json
import math
import os
import re
from collections.abc import Callable, Generator, Iterable, Mapping
from contextlib import contextmanager, redirect_stdout
from contextvars import copy_context
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from pydantic_core import from_json

from quatrain.results import ResultStore, write_atomically
from quatrain.results.files import read_regular
from quatrain.specs import StoredFileError, StudyError
from quatrain.specs.errors import shorten
from quatrain.specs.extras import name_missing_extra
from quatrain.study.protocol import Event

FINAL = "final/"
"""The prefix of the metrics of a finished run: "final/bleu"."""


class Sink(Protocol):
    """A destination of logged numbers; runs are given by their identity."""

    folder: Path

    def begin(self, run: str, name: str) -> None:
        """Open a run by its name, to continue it if it was written before."""
        ...

    def write(self, run: str, step: int, values: Mapping[str, float]) -> None:
        """Write the numbers of a step."""
        ...

    def end(self, run: str) -> None:
        """Write all numbers that are buffered, and close the run."""
        ...


class TensorBoard:
    """Event files of TensorBoard, in one folder for each run."""

    def __init__(self, out: Path) -> None:
        self.folder: Path = out / "tensorboard"
        with name_missing_extra():
            import tensorboard  # noqa: F401  (the error of torch does not name the package)
            from torch.utils.tensorboard import SummaryWriter

        self._open = SummaryWriter
        self._writers: dict[str, Any] = {}

    def begin(self, run: str, name: str) -> None:
        """Open a file in the folder of the run, named by its cell, seed and identity."""
        title = re.sub(r"[^\w.+@=]+", "-", name)[:100]
        self._writers[run] = self._open(str(self.folder / f"{title}-{run[:8]}"), flush_secs=10)

    def write(self, run: str, step: int, values: Mapping[str, float]) -> None:
        """Write the numbers of a step."""
        for name, value in values.items():
            self._writers[run].add_scalar(name, value, step)

    def end(self, run: str) -> None:
        """Close the file."""
        self._writers.pop(run).close()


class Trackio:
    """A local database of trackio, in the study's folder unless TRACKIO_DIR names another."""

    def __init__(self, out: Path) -> None:
        self.folder: Path = out / "trackio"
        # Read when trackio is imported.
        os.environ.setdefault("TRACKIO_DIR", str(self.folder))
        with name_missing_extra():
            import trackio  # pyright: ignore[reportMissingImports]

        self._project = re.sub(r"[^\w-]+", "-", out.name) or "study"
        self._trackio = trackio
        self._runs: dict[str, Any] = {}

    def begin(self, run: str, name: str) -> None:
        """Open a run of the project."""
        group, _, _ = name.partition("/")
        options = {"name": name, "group": group, "resume": "allow", "embed": False}
        options |= {"auto_log_cpu": False, "auto_log_gpu": False}
        # In a context of its own no run is the current one, which trackio ends at exit.
        context = copy_context()
        with redirect_stdout(io.StringIO()):  # trackio prints instructions
            self._runs[run] = context.run(self._trackio.init, self._project, **options)

    def write(self, run: str, step: int, values: Mapping[str, float]) -> None:
        """Write the numbers of a step."""
        self._runs[run].log(dict(values), step=step)

    def end(self, run: str) -> None:
        """Write all numbers that are buffered."""
        with redirect_stdout(io.StringIO()):
            self._runs.pop(run).finish()


SINKS: Mapping[str, Callable[[Path], Sink]] = {"tensorboard": TensorBoard, "trackio": Trackio}


def open_sinks(names: Iterable[str], out: Path) -> dict[str, Sink]:
    """The sinks of these names for the results in `out`.

    Raises:
        StudyError: if a name is unknown.
        MissingPackageError: if the package of a sink is not installed.
    """
    chosen = list(dict.fromkeys(names))
    for name in chosen:
        if name not in SINKS:
            message = f"--log-to {shorten(name)} is unknown; use {' or '.join(SINKS)}"
            raise StudyError(message, "--log-to")
    return {name: SINKS[name](out) for name in chosen}


@contextmanager
def forward_logs(
    store: ResultStore, sinks: Mapping[str, Sink], note: Callable[[str], None]
) -> Generator[Callable[[Event], None]]:
    """In the block, runs are written to `sinks`; yields the function for their events.

    A sink that fails gets a note and nothing more; the study continues.
    """
    open_logs = {name: RunLogs(store, sink) for name, sink in sinks.items()}

    def attempt(name: str, action: Callable[[], None]) -> None:
        try:
            action()
        except Exception as error:  # a log must not end the study
            del open_logs[name]
            text = " ".join(str(error).split()) or type(error).__name__
            note(f"no more logs to {name}: {text}; the study continues")

    def notify(event: Event) -> None:
        for name, logs in list(open_logs.items()):
            attempt(name, lambda logs=logs: logs.notify(event))

    try:
        yield notify
    finally:
        for name, logs in list(open_logs.items()):
            attempt(name, logs.close)


@dataclass
class _Position:
    """How far the log of a run is written to a sink."""

    name: str
    before: float
    """The last step that was written in an earlier session; infinity if the run is complete."""
    last: float
    bytes_read: int = 0
    is_open: bool = False


class RunLogs:
    """Writes the new lines of each run's log, and its final metrics, to a sink."""

    def __init__(self, store: ResultStore, sink: Sink) -> None:
        self._store = store
        self._sink = sink
        self._positions: dict[str, _Position] = {}

    def notify(self, event: Event) -> None:
        """Write what is new in the run of an event."""
        # Before the first step of a resumed training, its log has lines after the checkpoint.
        has_lines = event.kind == "progress" and event.step > 0
        if not has_lines and event.kind not in {"done", "failed", "skipped"}:
            return
        run = event.identity
        if run not in self._positions:
            before = self._written(run)
            self._positions[run] = _Position(event.label, before, before)
        if self._positions[run].before < math.inf:
            self._write_lines(run)
            if event.kind in {"done", "skipped"}:
                self._write_final(run)
        if event.is_final:
            self._end(run)

    def close(self) -> None:
        """Close the runs that have not ended."""
        for run in list(self._positions):
            self._write_lines(run)
            self._end(run)

    def _write_lines(self, run: str) -> None:
        position = self._positions[run]
        try:
            with (self._store.files(run) / "metrics.jsonl").open("rb") as file:
                file.seek(position.bytes_read)
                lines, end, _unfinished = file.read().rpartition(b"\n")
        except FileNotFoundError:  # a run that failed before its first step
            return
        position.bytes_read += len(lines) + len(end)
        for step, values in map(numbers_of, lines.split(b"\n")):
            if values and step > position.before:
                self._write(run, step, values)

    def _write_final(self, run: str) -> None:
        record = self._store.record(run)
        if record is not None:
            values = {f"{FINAL}{name}": value for name, value in record.metrics.items()}
            self._write(run, record.steps, values)
            self._positions[run].last = math.inf

    def _write(self, run: str, step: int, values: Mapping[str, float]) -> None:
        position = self._positions[run]
        if not position.is_open:
            self._sink.begin(run, position.name)
            position.is_open = True
        self._sink.write(run, step, values)
        position.last = max(position.last, step)

    def _end(self, run: str) -> None:
        position = self._positions.pop(run)
        if not position.is_open:
            return
        self._sink.end(run)
        is_complete = position.last == math.inf
        state = {"step": None if is_complete else position.last, "complete": is_complete}
        write_atomically(self._state_file(run), json.dumps(state))

    def _state_file(self, run: str) -> Path:
        return self._sink.folder / "written" / f"{run[:16]}.json"

    def _written(self, run: str) -> float:
        """The last step of a run that was written; infinity if it is complete."""
        try:
            state = from_json(read_regular(self._state_file(run), "delete it") or b"")
            return math.inf if state["complete"] else float(state["step"])
        except (StoredFileError, ValueError, TypeError, KeyError, OverflowError):
            return 0.0


def numbers_of(line: bytes) -> tuple[int, dict[str, float]]:
    """The step of a line of metrics.jsonl, and its other finite numbers; no numbers if damaged."""
    try:
        values = json.loads(line)
        step = values.pop("step")
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return 0, {}
    if type(step) is not int or not 0 < step < 2**53:
        return 0, {}
    numbers = {
        name: float(value)
        for name, value in values.items()
        if type(value) in {int, float} and abs(value) <= 1e100
    }
    return step, numbers
