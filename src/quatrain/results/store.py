"""The folder of a study: one manifest, and one folder for each run.

    root/study.json                  the manifest
    root/runs/3f2a09c1d4e5b677/      a run, named by the first 16 digits of its identity
        record.json                  its existence means done

All writes are by rename, so a process that dies leaves complete files only. The lock belongs to
the operating system: it is released when its process ends.
"""

import enum
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from quatrain.results.files import (
    CHECKPOINT,
    make_folder,
    read_regular,
    write_atomically,
    write_error,
)
from quatrain.results.record import Failure, Manifest, Measurement, Record, StoredModel
from quatrain.specs import StoredFileError, StudyError, name_missing_extra

if TYPE_CHECKING:
    from filelock import FileLock

Model = TypeVar("Model", bound=StoredModel)

RUN_AGAIN = "delete this file and run the study again, which repeats this run only"


class RunState(enum.Enum):
    """State of a run; the value is the word in tables."""

    DONE = "done"
    RUNNING = "running"
    FAILED = "failed"
    PAUSED = "paused"
    ABSENT = "absent"


class ResultStore:
    """Read and write the files of a study's folder except those of the training."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._runs = root / "runs"

    def folder(self, identity: str) -> Path:
        """The folder of the run `identity`, which may not exist yet."""
        return self._runs / identity[:16]

    def state(self, identity: str) -> RunState:
        """The state of the run, by its lock and the files in its folder."""
        folder = self.folder(identity)
        if (folder / "record.json").exists():
            return RunState.DONE
        if _is_held(folder / "lock"):
            return RunState.RUNNING
        if (folder / "failure.json").exists():
            return RunState.FAILED
        if (folder / CHECKPOINT).exists():
            return RunState.PAUSED
        return RunState.ABSENT

    @contextmanager
    def claim(self, identity: str) -> Generator[Path | None]:
        """Hold the run's lock in the block; yield its folder, or None if another process has it."""
        folder = self.folder(identity)
        with _lock(folder, timeout=0.2) as is_free:  # not zero: `state` takes a lock for an instant
            yield folder if is_free else None

    def record(self, identity: str) -> Record | None:
        """The run's record, or None before it is done.

        Raises:
            StoredFileError: if the file is damaged or belongs to another run.
        """
        return self._record(self.folder(identity) / "record.json", identity)

    def all_records(self) -> list[Record]:
        """Every record in the folder, also of runs that are not in the manifest, by folder name.

        Raises:
            StoredFileError: if one is damaged or does not belong to its folder.
        """
        records = map(self._record, sorted(self.root.glob("runs/*/record.json")))
        return [record for record in records if record is not None]

    def _record(self, path: Path, identity: str | None = None) -> Record | None:
        record = _read(path, Record, RUN_AGAIN)
        if record is None:
            return None
        if record.identity[:16] != path.parent.name or identity not in (None, record.identity):
            message = f"{path} is the record of run {record.identity}; {RUN_AGAIN}"
            raise StoredFileError(message, str(path))
        return record

    def write_record(self, record: Record) -> None:
        """Write the record, which makes the run done."""
        write_atomically(self.folder(record.identity) / "record.json", record.to_json())

    def failure(self, identity: str) -> Failure | None:
        """The failure of the run, or None."""
        remedy = "delete this file and run the study again"
        return _read(self.folder(identity) / "failure.json", Failure, remedy)

    def write_failure(self, identity: str, failure: Failure) -> None:
        """Write the failure of the run."""
        write_atomically(self.folder(identity) / "failure.json", failure.to_json())

    def clear_failure(self, identity: str) -> None:
        """Remove the failure of the run, so that it can be tried again."""
        path = self.folder(identity) / "failure.json"
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            raise write_error(path.parent, error) from error

    def measurement(self, identity: str) -> Measurement | None:
        """The quantities that `study measure` added to the run, or None before."""
        remedy = "delete this file and measure the study again"
        return _read(self.folder(identity) / "measurement.json", Measurement, remedy)

    def write_measurement(self, identity: str, measurement: Measurement) -> None:
        """Write the quantities that `study measure` added to the run."""
        write_atomically(self.folder(identity) / "measurement.json", measurement.to_json())

    def manifest(self) -> Manifest:
        """The manifest of the study that was last run into the folder.

        Raises:
            StudyError: if no study was run into this folder.
            StoredFileError: if the file is damaged.
        """
        remedy = "delete this file and run the study again; finished runs are kept"
        manifest = _read(self.root / "study.json", Manifest, remedy)
        if manifest is None:
            raise StudyError(
                f"{self.root} has no study.json; use the folder of `quatrain study run --out`",
                "study folder",
            )
        return manifest

    @contextmanager
    def lock_manifest(self) -> Generator[None]:
        """Hold a lock, so that no other process replaces the manifest in the block."""
        with _lock(self.root):
            yield

    def write_manifest(self, manifest: Manifest) -> None:
        """Write the manifest."""
        write_atomically(self.root / "study.json", manifest.to_json())


@contextmanager
def _lock(folder: Path, timeout: float = -1) -> Generator[bool]:
    """Hold the lock of `folder` in the block; False if another process has it till `timeout`."""
    make_folder(folder)
    lock = _file_lock(folder / "lock")
    from filelock import Timeout

    try:
        lock.acquire(timeout=timeout, poll_interval=0.02)
    except Timeout:
        yield False
        return
    except OSError as error:
        raise write_error(folder, error) from error
    try:
        yield True
    finally:
        lock.release()


def _file_lock(path: Path) -> "FileLock":
    """A lock of the package filelock, which an extra installs."""
    with name_missing_extra():
        from filelock import FileLock
    return FileLock(path)


def _is_held(path: Path) -> bool:
    if not path.exists():
        return False
    lock = _file_lock(path)
    from filelock import Timeout

    try:
        with lock.acquire(timeout=0):
            return False
    except Timeout:
        return True
    except OSError:
        return False  # a read-only copy of a study, where no run can be executed


def _read(path: Path, model: type[Model], remedy: str) -> Model | None:
    content = read_regular(path, remedy)
    try:
        return None if content is None else model.from_json(content, remedy)
    except StudyError as error:
        raise StoredFileError(f"{path}: {error}", str(path)) from error
