"""The folder of a study: one manifest, and one folder for each run.

    root/study.json                  the manifest
    root/runs/3f2a09c1d4e5b677/      a run, named by the first 16 digits of its identity
        record.json                  its existence means done
        attempts/                    the run while it is not done, as in `quatrain.results.attempts`

Files appear whole, by rename or link. So a process that ends at any moment, and several machines on
one disk, leave complete files only. docs/shared_disks.md says what is promised on which disks.
"""

import enum
import random
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TypeVar

from quatrain.results import attempts
from quatrain.results.attempts import LEASE_SECONDS, Attempt
from quatrain.results.files import (
    CHECKPOINT,
    create_atomically,
    make_folder,
    read_regular,
    write_atomically,
    write_error,
)
from quatrain.results.record import Failure, Manifest, Measurement, Record, StoredModel
from quatrain.specs import StoredFileError, StudyError, name_missing_extra

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

    def __init__(self, root: Path, lease_seconds: float = LEASE_SECONDS) -> None:
        """The results in `root`; all processes that share it need the same `lease_seconds`."""
        self.root = root
        self._runs = root / "runs"
        self._lease_seconds = lease_seconds

    def folder(self, identity: str) -> Path:
        """The folder of the run `identity`, which may not exist yet."""
        return self._runs / identity[:16]

    def files(self, identity: str) -> Path:
        """The folder with the log and the checkpoint of the run: that of its latest attempt."""
        return attempts.latest_folder(self.folder(identity))

    def state(self, identity: str) -> RunState:
        """The state of the run, by its lease and the files in its folder."""
        folder = self.folder(identity)
        if (folder / "record.json").exists():
            return RunState.DONE
        if not folder.exists():  # the state of thousands of runs before they begin
            return RunState.ABSENT
        if attempts.is_leased(folder, self._lease_seconds):
            return RunState.RUNNING
        if (folder / "failure.json").exists():
            return RunState.FAILED
        if (self.files(identity) / CHECKPOINT).exists():
            return RunState.PAUSED
        return RunState.ABSENT

    def may_expire(self, identity: str) -> bool:
        """Whether another machine has the run, and did not renew its lease in time."""
        return attempts.may_expire(self.folder(identity), self._lease_seconds)

    @contextmanager
    def claim(self, identity: str) -> Generator[Attempt | None]:
        """Hold a lease of the run in the block; None if another process has it."""
        attempt = attempts.claim(self.folder(identity), self._lease_seconds)
        try:
            yield attempt
        finally:
            if attempt is not None:
                attempt.release()
                self.settle(identity)

    def settle(self, identity: str) -> None:
        """Give the folder of a finished run its final form; it can be repeated at any time.

        A process that ends just after it has published a record leaves this to others.
        """
        folder = self.folder(identity)
        if not (folder / "attempts").exists():
            return
        with suppress(StoredFileError, OSError):  # a damaged record is reported by who reads it
            record = self.record(identity)
            if record is not None:
                attempts.settle(folder, record.attempt, self._lease_seconds)

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

    def write_record(self, record: Record) -> Record:
        """Write the record, which makes the run done, and return the record that stands.

        It is the one of another process if that has finished the run before.
        """
        path = self.folder(record.identity) / "record.json"
        if create_atomically(path, record.to_json()):
            return record
        return self.record(record.identity) or record

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
    def lock_manifest(self, seconds: float = -1.0) -> Generator[bool]:
        """Hold a lock, so that no other process replaces the manifest in the block.

        Yields False if another process holds it for `seconds`; a negative number waits for ever.
        """
        with name_missing_extra():
            from filelock import SoftFileLease, Timeout
        make_folder(self.root)
        lock = SoftFileLease(self.root / "study.json.lock")
        interval = random.uniform(0.02, 0.2)  # noqa: S311 - so that many do not look at once
        try:
            lock.acquire(timeout=seconds, poll_interval=interval)
        except Timeout:
            yield False
            return
        except OSError as error:
            raise write_error(self.root, error) from error
        try:
            yield True
        finally:
            lock.release()

    def write_manifest(self, manifest: Manifest) -> None:
        """Write the manifest."""
        write_atomically(self.root / "study.json", manifest.to_json())


def _read(path: Path, model: type[Model], remedy: str) -> Model | None:
    content = read_regular(path, remedy)
    try:
        return None if content is None else model.from_json(content, remedy)
    except StudyError as error:
        raise StoredFileError(f"{path}: {error}", str(path)) from error
