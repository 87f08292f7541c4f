"""Attempts at a run, and the lease that lets one process at a time execute it.

    runs/3f2a09c1d4e5b677/attempts/1.json    the lease of attempt 1: who has it
                                   1/        the files of attempt 1

A lease is made exclusively, by a hard link, which servers of shared disks execute as one operation.
Its owner renews it by its modification time. The next attempt may begin when the latest lease was
released, when its process is known to have ended, or when it has expired: when the disk's own
clock, the modification time of a file touched just now, is more than `seconds` ahead of the
lease's. The clocks of two machines are never compared.

A lease saves work, and no result depends on it: a process that lost its lease unnoticed may write,
but only into the folder of its own attempt, and the first record that is published stands.
"""

import json
import os
import shutil
import socket
import threading
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

from quatrain.results.files import (
    CHECKPOINT,
    OLD_SESSIONS,
    SESSIONS,
    create_atomically,
    make_folder,
    read_regular,
    write_atomically,
    write_error,
)
from quatrain.specs import StoredFileError, StudyError

LEASE_SECONDS = 120.0
"""Seconds without a renewal after which a lease has expired."""

_RENEWALS = 6
"""Renewals within the time of a lease."""

_RESUMED_FROM = {CHECKPOINT, SESSIONS, OLD_SESSIONS}
"""Files that only a run needs that is not done."""

_LARGEST = 10_000
"""Bytes of a lease that is read."""

_FOLDER = "attempts"
_CLOCK = ".clock"
_OF_A_RUN = {"record.json", "failure.json", "measurement.json", "spec.json", "lock", _FOLDER}
"""Files of the folder of a run that belong to no attempt."""


class RunPaused(Exception):  # noqa: N818 - not an error
    """Ends a training that was asked to stop, after it has written a checkpoint."""


@dataclass(frozen=True)
class _Owner:
    """The process that has a lease; `started` is None where it is unknown."""

    host: str
    system: str
    """Names the booted system and its process numbers, so that they can be compared."""
    process: int
    started: int | None
    released: bool = False

    def has_ended(self) -> bool | None:
        """Whether the process has ended; None if that cannot be known here."""
        here = _this_process()
        if (self.host, self.system) != (here.host, here.system) or self.started is None:
            return None
        started = _start_of(self.process)
        return None if started is None and _is_hidden(self.process) else started != self.started


class Attempt:
    """The right to execute a run: a lease that is renewed until it is released."""

    def __init__(self, run: Path, number: int, seconds: float) -> None:
        self.run, self.number = run, number
        self._lease = _lease(run, number)
        self._end = threading.Event()
        self._is_lost = False
        interval = seconds / _RENEWALS
        self._renewal = threading.Thread(target=self._renew, args=(interval,), daemon=True)
        self._renewal.start()

    @property
    def folder(self) -> Path:
        """The folder of the attempt's files."""
        return self.run / _FOLDER / str(self.number)

    @property
    def is_lost(self) -> bool:
        """Whether another process has taken the run over, or has finished it."""
        return self._is_lost

    def begin(self) -> Path:
        """Make the folder of the attempt, with a copy of the files of the latest earlier one."""
        earlier = latest_folder(self.run)
        try:
            _copy(earlier, self.folder)
        except OSError as error:
            raise write_error(self.folder, error) from error
        for number, folder in _folders(self.run):
            # The process of an expired lease may still run: its files stay for one more attempt.
            is_over = folder == earlier and _is_released(_lease(self.run, number))
            if number < self.number and (folder != earlier or is_over):
                shutil.rmtree(folder, ignore_errors=True)
        return self.folder

    def release(self) -> None:
        """Give up the lease; the files stay for the next attempt."""
        self._end.set()
        self._renewal.join()
        try:
            if (self.run / "record.json").exists():
                self._lease.unlink(missing_ok=True)
            elif self._lease.exists():
                _write(self._lease, replace(_this_process(), released=True))
        except (OSError, StudyError):
            return  # it expires

    def _renew(self, interval: float) -> None:
        following = _lease(self.run, self.number + 1)
        while not self._end.wait(interval):
            with suppress(OSError):  # such as a server that restarts
                self._is_lost = following.exists() or (self.run / "record.json").exists()
                os.utime(self._lease)


def claim(run: Path, seconds: float = LEASE_SECONDS) -> Attempt | None:
    """The next attempt at the run in this folder, or None if another process executes it.

    Raises:
        StudyError: if the folder cannot be written.
    """
    make_folder(run / _FOLDER)
    latest = _latest_lease(run)
    if latest and _is_held(_lease(run, latest), seconds):
        return None
    number = 1 + max([latest, *(number for number, _ in _folders(run))])
    try:
        is_first = _write(_lease(run, number), _this_process(), exclusive=True)
    except StudyError:
        if (run / _FOLDER).is_dir():
            raise
        return None  # another process has just finished the run, and removed the empty folder
    return Attempt(run, number, seconds) if is_first else None


def is_leased(run: Path, seconds: float = LEASE_SECONDS) -> bool:
    """Whether a process executes the run in this folder, as far as that can be seen."""
    latest = _latest_lease(run)
    return bool(latest) and _is_held(_lease(run, latest), seconds)


def may_expire(run: Path, seconds: float = LEASE_SECONDS) -> bool:
    """Whether the run has a lease of another machine that was not renewed in time."""
    return is_leased(run, seconds) and not is_leased(run, 2 * seconds / _RENEWALS)


def latest_folder(run: Path) -> Path:
    """The folder with the files of the latest attempt; that of the run itself without any."""
    return max(_folders(run), default=(0, run))[1]


def settle(run: Path, attempt: int | None, seconds: float = LEASE_SECONDS) -> None:
    """Move the files of the attempt whose record was published into the folder of the run.

    Removes what only a resumed training needs, and the attempts that no process executes. It can
    be repeated at any time.
    """
    if not (run / _FOLDER).is_dir():
        return
    folder = run / _FOLDER / str(attempt)
    names = {path.name for path in folder.iterdir()} if folder.is_dir() else set[str]()
    for name in names - _RESUMED_FROM:
        with suppress(FileNotFoundError):  # another process has just moved it
            _move(folder / name, run / name)
    for name in _RESUMED_FROM:
        (run / name).unlink(missing_ok=True)
    for number in {*_numbers(run, ""), *_numbers(run, ".json")}:
        lease = _lease(run, number)
        if number == attempt or not _is_held(lease, seconds):
            shutil.rmtree(run / _FOLDER / str(number), ignore_errors=True)
            lease.unlink(missing_ok=True)
    (run / _FOLDER / _CLOCK).unlink(missing_ok=True)
    with suppress(OSError):  # another attempt is left
        (run / _FOLDER).rmdir()


def _lease(run: Path, number: int) -> Path:
    return run / _FOLDER / f"{number}.json"


def _latest_lease(run: Path) -> int:
    return max(_numbers(run, ".json"), default=0)


def _folders(run: Path) -> list[tuple[int, Path]]:
    """The attempts that have a folder, by number."""
    return sorted((number, run / _FOLDER / str(number)) for number in _numbers(run, ""))


def _numbers(run: Path, suffix: str) -> Iterator[int]:
    try:
        paths = list((run / _FOLDER).iterdir())
    except (FileNotFoundError, NotADirectoryError):
        return
    for name in [path.name for path in paths]:
        stem = name.removesuffix(suffix) if name.endswith(suffix) else ""
        if stem.isascii() and stem.isdecimal() and len(stem) < 10:
            yield int(stem)


def _is_held(lease: Path, seconds: float) -> bool:
    """Whether the owner of the lease may still execute the run."""
    owner = _read(lease)
    if owner is not None:
        has_ended = owner.released or owner.has_ended()
        if has_ended is not None:
            return not has_ended
    try:
        renewed = _modified(lease)
        clock = lease.with_name(_CLOCK)
        clock.touch()
        return _modified(clock) - renewed <= seconds
    except OSError:  # the lease has just been removed, or the folder is a read-only copy
        return False


def _is_released(lease: Path) -> bool:
    owner = _read(lease)
    return owner is not None and (owner.released or owner.has_ended() is True)


def _modified(path: Path) -> float:
    """The modification time; opening the file makes a client of NFS ask the server for it."""
    file = os.open(path, os.O_RDONLY | os.O_NONBLOCK)  # a pipe would block
    try:
        return os.fstat(file).st_mtime
    finally:
        os.close(file)


def _read(lease: Path) -> _Owner | None:
    """The owner of a lease; None if it is absent or damaged."""
    try:
        content: Any = json.loads(read_regular(lease, "delete this file", _LARGEST) or b"")
        owner = _Owner(**content)
    except (StoredFileError, ValueError, TypeError, RecursionError):
        return None
    return owner if type(owner.process) is int else None


def _write(lease: Path, owner: _Owner, *, exclusive: bool = False) -> bool:
    """Write a lease; with `exclusive` only if there is none, and say whether it was written."""
    text = json.dumps(asdict(owner), indent=2) + "\n"
    if exclusive:
        return create_atomically(lease, text)
    write_atomically(lease, text)
    return True


@cache
def _system() -> str:
    """The boot of this system and the namespace of its process numbers, where Linux has them."""
    parts: list[str] = []
    with suppress(OSError):
        parts.append(Path("/proc/sys/kernel/random/boot_id").read_text("ascii").strip())
        parts.append(str(Path("/proc/self/ns/pid").readlink()))
    return " ".join(parts)


def _this_process() -> _Owner:
    process = os.getpid()
    return _Owner(socket.gethostname(), _system(), process, _start_of(process))


def _start_of(process: int) -> int | None:
    """When the process started, in ticks since the boot; None if it is unknown or has ended."""
    try:
        stat = Path(f"/proc/{process}/stat").read_text(errors="replace")
        state, *fields = stat.rpartition(")")[2].split()
        return None if state in {"Z", "X"} else int(fields[18])
    except (OSError, ValueError, IndexError):
        return None


def _is_hidden(process: int) -> bool:
    """Whether a process runs as another user, whom the system may hide from this one."""
    try:
        os.kill(process, 0)
    except PermissionError:
        return True
    except (OSError, OverflowError):
        return False
    return False


def _copy(source: Path, target: Path) -> None:
    """Copy the files of an attempt, which its process may be writing: the checkpoint first."""
    make_folder(target)
    if not source.is_dir():
        return
    for path in sorted(source.iterdir(), key=lambda path: path.name != CHECKPOINT):
        is_temporary = path.name.startswith(".") and path.name.endswith(".tmp")
        if path.name in _OF_A_RUN or is_temporary:
            continue
        try:
            if path.is_dir() and not path.is_symlink():
                _copy(path, target / path.name)
            elif path.is_file():
                shutil.copy2(path, target / path.name, follow_symlinks=False)
        except FileNotFoundError:
            continue  # its process has just removed it


def _move(path: Path, target: Path) -> None:
    """Move a file or folder in place of what has its name, such as a file of an older version."""
    if path.is_dir() and target.is_dir():
        shutil.rmtree(target)
    path.replace(target)
