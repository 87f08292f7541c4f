"""A pool of worker processes, with one queue for the events of all of them.

    runner  ── orders: stdin ───────────────────>  worker
            <── events: a separate pipe ────────
       log  <── stdout and stderr ──────────────

The output of a worker, its libraries and its child processes goes to its log. A worker has ended
when its process has, not when its pipe is closed: child processes may keep the pipe open.
"""

import os
import queue
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Generator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from quatrain.results.record import storable
from quatrain.specs import StudyError
from quatrain.study.protocol import Event, Order
from quatrain.study.worker_log import shorten_log

_ENVIRONMENT_FLAGS = [
    flag
    for flag, is_set in (("-E", sys.flags.ignore_environment), ("-s", sys.flags.no_user_site))
    if is_set
]

WORKER: tuple[str, ...] = (sys.executable, "-P", *_ENVIRONMENT_FLAGS, "-m", "quatrain.study.worker")
"""Workers import the same modules as this process: -P leaves the current folder out of the path."""

STOP_SIGNALS = (signal.SIGTERM, signal.SIGUSR1)
"""Signals that ask for a stop: clusters send them some time before they end a job."""

_EXIT_SECONDS = 10.0
_STOP_SECONDS = 30.0
_POLL_MILLISECONDS = 100
_LINE_LIMIT = 2**20
_LOGGED_CHARACTERS = 200


@dataclass(frozen=True)
class WorkerExit:
    """The end of a worker process."""

    pid: int
    status: int
    sent_events: bool = True
    """Whether it sent an event; if not, it began no run."""

    @property
    def reason(self) -> str:
        """A sentence with the signal or the exit status."""
        if self.status < 0:
            return f"the worker process was killed by signal {-self.status}"
        return f"the worker process ended with exit status {self.status}"


class Pool:
    """A number of workers, each started with its first order.

    Each worker has its own process group: Ctrl-C reaches only the runner, which then stops the
    workers.
    """

    def __init__(self, size: int, command: Sequence[str], logs: Path) -> None:
        self.size = size
        self._events: queue.Queue[tuple[int, Event | WorkerExit]] = queue.Queue()
        self._command = tuple(command)
        self._logs = logs
        self._processes: dict[int, subprocess.Popen[str]] = {}
        self._listeners: dict[int, threading.Thread] = {}

    def send(self, worker: int, order: Order) -> None:
        """Send an order to a worker; start one in place of a worker that has ended."""
        process = self._processes.get(worker)
        if process is None or process.poll() is not None:
            process = self._start(worker)
        stdin = process.stdin
        if stdin is None:
            raise RuntimeError("a worker has no stdin")
        with suppress(BrokenPipeError):  # the worker has just ended: its exit is on the queue
            stdin.write(order.to_line())
            stdin.flush()

    def log(self, worker: int) -> Path:
        """The file with the stdout and stderr of a worker."""
        return self._logs / f"worker-{worker}.log"

    def next_event(self) -> tuple[int, Event | WorkerExit]:
        """Wait for the next event or exit of any worker."""
        while True:
            worker, event = self._events.get()
            # The exit of an idle process that has been replaced is skipped.
            if isinstance(event, Event) or event.pid == self._processes[worker].pid:
                return worker, event

    def close(self) -> None:
        """End idle workers by closing their stdin; kill those that do not end."""
        for process in self._processes.values():
            _close_stdin(process)
        self._wait(_EXIT_SECONDS)
        self._kill()

    def stop(self) -> None:
        """Ask all workers to pause their runs; kill those that do not within half a minute.

        A second Ctrl-C or signal ends the wait.
        """
        try:
            for process in self._processes.values():
                if process.poll() is None:
                    process.send_signal(signal.SIGTERM)
                    # A stopped process gets a signal only then.
                    _signal_group(process, signal.SIGCONT)
            self._wait(_STOP_SECONDS)
        except KeyboardInterrupt:
            pass
        finally:
            self._kill()

    def _start(self, worker: int) -> "subprocess.Popen[str]":
        with self._open_log(worker) as log:
            process, events = _spawn(self._command, log)
        if worker in self._processes:
            _close_stdin(self._processes[worker])
        self._processes[worker] = process
        self._listeners[worker] = threading.Thread(
            target=self._listen, args=(worker, process, events), daemon=True
        )
        self._listeners[worker].start()
        return process

    def _open_log(self, worker: int) -> TextIO:
        path = self.log(worker)
        remedy = "move it away and run the study again"
        if path.is_fifo():
            raise StudyError(f"the log {path} is a named pipe; {remedy}", str(path))
        try:
            return path.open("a", encoding="utf-8")
        except OSError as error:
            message = f"the log {path} cannot be written ({error.strerror}); {remedy}"
            raise StudyError(message, str(path)) from error

    def _listen(self, worker: int, process: "subprocess.Popen[str]", pipe: int) -> None:
        sent_events = False
        try:
            for line in _lines(pipe, process, self.log(worker)):
                try:
                    event = Event.from_line(line)
                except ValueError:
                    self._log(worker, f"not an event: {line[:_LOGGED_CHARACTERS]!r}")
                    continue
                sent_events = True
                self._events.put((worker, event))
        finally:
            os.close(pipe)
            status = _wait_for_exit(process)
            self._events.put((worker, WorkerExit(process.pid, status, sent_events)))

    def _log(self, worker: int, line: str) -> None:
        # The study continues without this line of the log, for example on a full disk.
        with suppress(OSError, StudyError), self._open_log(worker) as log:
            log.write(f"quatrain: {storable(line)}\n")

    def _wait(self, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        for process in self._processes.values():
            with suppress(subprocess.TimeoutExpired):
                process.wait(max(0.0, deadline - time.monotonic()))

    def _kill(self) -> None:
        for process in self._processes.values():
            if process.poll() is None:
                _signal_group(process, signal.SIGKILL)
                process.wait()
            _close_stdin(process)
        for listener in self._listeners.values():
            listener.join()


def _spawn(command: Sequence[str], log: TextIO) -> "tuple[subprocess.Popen[str], int]":
    """Start a worker; return its process and the descriptor from which its events are read."""
    try:
        events, write_end = os.pipe()
        try:
            process = subprocess.Popen(
                (*command, "--events", str(write_end)),
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                encoding="utf-8",
                pass_fds=(write_end,),
                process_group=0,
            )
        except BaseException:
            os.close(events)
            raise
        finally:
            os.close(write_end)
    except OSError as error:
        message = f"the worker {command[0]} does not start ({error.strerror or error}); end other "
        raise StudyError(message + "programs, then run again", "worker") from error
    return process, events


def _lines(pipe: int, process: "subprocess.Popen[str]", log: Path) -> Generator[bytes]:
    """The lines that the worker writes until it ends or closes the pipe; its log stays short.

    An incomplete last line, of a process that was killed, is left out. A line of more than 1 MiB
    is split.
    """
    rest = b""
    while chunk := _read(pipe, process, log):
        *lines, rest = (rest + chunk).split(b"\n")
        yield from lines
        if len(rest) > _LINE_LIMIT:
            yield rest
            rest = b""


def _read(pipe: int, process: "subprocess.Popen[str]", log: Path) -> bytes:
    """Wait for bytes in the pipe; empty at its end, and when a worker has ended without more."""
    poller = select.poll()
    poller.register(pipe, select.POLLIN)
    while True:
        has_ended = process.poll() is not None
        shorten_log(log)
        if poller.poll(0 if has_ended else _POLL_MILLISECONDS):
            return os.read(pipe, 2**16)
        if has_ended:
            return b""


def _wait_for_exit(process: "subprocess.Popen[str]") -> int:
    """Wait for the exit status of a worker that sends no more events.

    Child processes of a killed worker keep the lock of its run, so they are killed too.
    """
    try:
        status = process.wait(_EXIT_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        status = process.wait()
    if status != 0:
        _signal_group(process, signal.SIGKILL)
    return status


def _signal_group(process: "subprocess.Popen[str]", number: signal.Signals) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, number)


def _close_stdin(process: "subprocess.Popen[str]") -> None:
    # The pipe may still contain an order that the worker did not read before it ended.
    with suppress(BrokenPipeError):
        if process.stdin is not None:
            process.stdin.close()
