"""Warm workers as child processes, and the one queue on which everything they say arrives.

    runner  ── orders: stdin ──────────────────>  worker
            <── events: a pipe of their own ────
       log  <── stdout and stderr ──────────────

Whatever a worker, its libraries or its children print goes to its log. Its end is noticed by the
process itself, since children that it left behind may keep the pipe open.
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

from quatrain.results.text import storable
from quatrain.specs import StudyError
from quatrain.study.messages import Event, Order

_ENVIRONMENT_FLAGS = [
    flag
    for flag, given in (("-E", sys.flags.ignore_environment), ("-s", sys.flags.no_user_site))
    if given
]

WORKER: tuple[str, ...] = (sys.executable, "-P", *_ENVIRONMENT_FLAGS, "-m", "quatrain.study.worker")
"""A worker imports what this process would: -P keeps the current folder out of its path."""

_PATIENCE_SECONDS = 10.0
_STOP_SECONDS = 2.0
_LOOK_MILLISECONDS = 100
_LINE_LIMIT = 2**20
_SHOWN_CHARACTERS = 200


@dataclass(frozen=True)
class Ended:
    """A worker process is no more."""

    process: int
    status: int
    spoke: bool = True
    """Whether it had sent any event; if not, it never got as far as a run."""

    @property
    def reason(self) -> str:
        """In words: by which signal, or with which status."""
        if self.status < 0:
            return f"the worker process was killed by signal {-self.status}"
        return f"the worker process ended with exit status {self.status}"


class Pool:
    """A number of workers, started when they are first given something to do.

    The workers form process groups of their own, so that Ctrl-C reaches the runner alone, which
    then decides what happens to them.
    """

    def __init__(self, size: int, command: Sequence[str], logs: Path) -> None:
        self.size = size
        self._said: queue.Queue[tuple[int, Event | Ended]] = queue.Queue()
        self._command = tuple(command)
        self._logs = logs
        self._processes: dict[int, subprocess.Popen[str]] = {}
        self._listeners: dict[int, threading.Thread] = {}

    def give(self, worker: int, order: Order) -> None:
        """Hand an order to a worker; a dead one is replaced first.

        Raises:
            StudyError: if no worker can be started, or its log cannot be written.
        """
        process = self._processes.get(worker)
        if process is None or process.poll() is not None:
            process = self._start(worker)
        stdin = process.stdin
        if stdin is None:
            raise RuntimeError("a worker has no stdin")
        try:
            stdin.write(order.to_line())
            stdin.flush()
        except BrokenPipeError:
            # It died this instant: its end arrives on the queue, as for any other death.
            return

    def log(self, worker: int) -> Path:
        """Where a worker's stdout and stderr go."""
        return self._logs / f"worker-{worker}.log"

    def hear(self) -> tuple[int, Event | Ended]:
        """The next thing that any worker says; waits for it."""
        while True:
            worker, news = self._said.get()
            # The end of a process that was idle, and that another has replaced, is no news.
            if not isinstance(news, Ended) or news.process == self._processes[worker].pid:
                return worker, news

    def close(self) -> None:
        """Let idle workers end by closing their stdin; stop those that do not."""
        for process in self._processes.values():
            _close_stdin(process)
        self._wait(_PATIENCE_SECONDS)
        self._kill()

    def stop(self) -> None:
        """Stop all workers at once, whatever they are at, and the processes that they started."""
        for process in self._processes.values():
            if process.poll() is None:
                _signal_group(process, signal.SIGTERM)
                _signal_group(process, signal.SIGCONT)  # a stopped process would not hear the first
        with suppress(KeyboardInterrupt):  # who asks twice does not want to wait
            self._wait(_STOP_SECONDS)
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
        if path.is_fifo():
            remedy = "move it away and run the study again"
            raise StudyError("worker log", str(path), "a file, and not a pipe", remedy)
        try:
            return path.open("a", encoding="utf-8")
        except OSError as error:
            remedy = f'the system says "{error.strerror}"; move it away and run the study again'
            raise StudyError("worker log", str(path), "a writable file", remedy) from error

    def _listen(self, worker: int, process: "subprocess.Popen[str]", events: int) -> None:
        spoke = False
        try:
            for line in _lines(events, process):
                try:
                    event = Event.from_line(line)
                except ValueError:
                    self._note(worker, f"not an event: {line[:_SHOWN_CHARACTERS]!r}")
                    continue
                spoke = True
                self._said.put((worker, event))
        finally:
            os.close(events)
            status = _end(process)
            self._said.put((worker, Ended(process.pid, status, spoke)))

    def _note(self, worker: int, line: str) -> None:
        # The log is for people; the study goes on without this line, on a full disk too.
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
    """A worker process, and the end of its pipe from which its events are read."""
    try:
        events, writing = os.pipe()
        try:
            process = subprocess.Popen(
                (*command, "--events", str(writing)),
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                encoding="utf-8",
                pass_fds=(writing,),
                process_group=0,
            )
        except BaseException:
            os.close(events)
            raise
        finally:
            os.close(writing)
    except OSError as error:
        remedy = f'the system says "{error.strerror or error}"; end other programs, then run again'
        raise StudyError("worker", command[0], "a program that starts", remedy) from error
    return process, events


def _lines(events: int, process: "subprocess.Popen[str]") -> Generator[bytes]:
    """What the worker writes, line by line, until it ends or closes the pipe.

    Half a line, from a process that was killed within it, is left out. A line without end comes
    in pieces.
    """
    rest = b""
    while chunk := _read(events, process):
        *whole, rest = (rest + chunk).split(b"\n")
        yield from whole
        if len(rest) > _LINE_LIMIT:
            yield rest
            rest = b""


def _read(events: int, process: "subprocess.Popen[str]") -> bytes:
    """Wait for bytes in the pipe; none at its end, or once the worker has ended and all is read."""
    poller = select.poll()
    poller.register(events, select.POLLIN)
    while True:
        ended = process.poll() is not None
        if poller.poll(0 if ended else _LOOK_MILLISECONDS):
            return os.read(events, 2**16)
        if ended:
            return b""


def _end(process: "subprocess.Popen[str]") -> int:
    """Wait for a worker that can say nothing more; its exit status.

    Children that a killed worker leaves behind hold the lock of its run, so they end with it.
    """
    try:
        status = process.wait(_PATIENCE_SECONDS)
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
    # An order that a dead worker never read is still in the pipe.
    with suppress(BrokenPipeError):
        if process.stdin is not None:
            process.stdin.close()
