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

from quatrain.results.files import CHECKPOINT, make_folder, write_atomically, write_error
from quatrain.results.reading import read_regular
from quatrain.results.record import Failure, Manifest, Measurement, Record, StoredModel
from quatrain.specs import StoredFileError, StudyError, name_missing_extra

if TYPE_CHECKING:
    from filelock import FileLock

Model = TypeVar("Model", bound=StoredModel)

_RUN_AGAIN = "delete this file and run the study again, which repeats this run only"


class RunState(enum.Enum):
    """State of a run; the value is the word in tables."""

    DONE = "done"
    RUNNING = "running"
    FAILED = "failed"
    PAUSED = "paused"
    ABSENT = "absent"


class ResultStore:
    """Reads and writes all files of a study's folder except those of the training."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def folder(self, identity: str) -> Path:
        """The folder of the run `identity`, which may not exist yet."""
        return self.root / "runs" / identity[:16]

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
        """Hold the run's lock in the block; None if another process holds it.

        Example:
            >>> with store.claim(identity) as folder:
            ...     if folder is not None and store.state(identity) is not RunState.DONE:
            ...         train_into(folder)
        """
        folder = self.folder(identity)
        make_folder(folder)
        lock = _file_lock(folder / "lock")
        from filelock import Timeout

        try:
            # Not zero: `state` holds a free lock for an instant.
            lock.acquire(timeout=0.2, poll_interval=0.02)
        except Timeout:
            yield None
            return
        except OSError as error:
            raise write_error(folder, error) from error
        try:
            yield folder
        finally:
            lock.release()

    def record(self, identity: str) -> Record | None:
        """The run's record, or None before it is done.

        Raises:
            StoredFileError: if the file is damaged or belongs to another run.
        """
        path = self.folder(identity) / "record.json"
        record = _read(path, Record, _RUN_AGAIN)
        if record is not None and record.identity != identity:
            value, expected = f"of run {record.identity}", f"the record of run {identity}"
            raise StoredFileError(str(path), value, expected, _RUN_AGAIN)
        return record

    def all_records(self) -> list[Record]:
        """Every record in the folder, also of runs that are not in the manifest, by folder name.

        Raises:
            StoredFileError: if one is damaged or does not belong to its folder.
        """
        records: list[Record] = []
        for path in sorted(self.root.glob("runs/*/record.json")):
            record = _read(path, Record, _RUN_AGAIN)
            if record is not None and self.folder(record.identity) != path.parent:
                value, expected = f"of run {record.identity}", f"that of {path.parent.name}"
                raise StoredFileError(str(path), value, expected, _RUN_AGAIN)
            records.extend([record] if record else [])
        return records

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
        """The run's latency and memory, or None before `study measure`."""
        remedy = "delete this file and measure the study again"
        return _read(self.folder(identity) / "measurement.json", Measurement, remedy)

    def write_measurement(self, identity: str, measurement: Measurement) -> None:
        """Write the run's latency and memory."""
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
            expected = "a folder that a study was run into (it has no study.json)"
            remedy = "use the folder of `quatrain study run --out`"
            raise StudyError("study folder", str(self.root), expected, remedy)
        return manifest

    @contextmanager
    def lock_manifest(self) -> Generator[None]:
        """Hold a lock, so that no other process replaces the manifest in the block."""
        make_folder(self.root)
        lock = _file_lock(self.root / "lock")
        try:
            lock.acquire()
        except OSError as error:
            raise write_error(self.root, error) from error
        try:
            yield
        finally:
            lock.release()

    def write_manifest(self, manifest: Manifest) -> None:
        """Write the manifest."""
        write_atomically(self.root / "study.json", manifest.to_json())


def _file_lock(path: Path, timeout: float = -1) -> "FileLock":
    """A lock of the package filelock, which an extra installs."""
    with name_missing_extra():
        from filelock import FileLock
    return FileLock(path, timeout=timeout)


def _is_held(lock: Path) -> bool:
    if not lock.exists():
        return False
    file_lock = _file_lock(lock, timeout=0)
    from filelock import Timeout

    try:
        with file_lock:
            return False
    except Timeout:
        return True
    except OSError:
        return False  # a read-only copy of a study, where no run can be executed


def _read(path: Path, model: type[Model], remedy: str) -> Model | None:
    content = read_regular(path, remedy)
    if content is None:
        return None
    try:
        return model.from_json(content.decode(), remedy)
    except UnicodeDecodeError as error:
        raise StoredFileError(str(path), "unreadable", "a text file", remedy) from error
    except StudyError as error:
        value = f"{error.field} = {error.value}"
        raise StoredFileError(str(path), value, error.expected, error.remedy) from error
