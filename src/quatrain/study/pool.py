"""Warm workers as child processes, and the one queue on which everything they say arrives."""

import queue
import subprocess
import sys
import threading
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from quatrain.study.messages import Event, Order

WORKER: tuple[str, ...] = (sys.executable, "-m", "quatrain.study.worker")
_PATIENCE_SECONDS = 10


@dataclass(frozen=True)
class Ended:
    """A worker process is no more."""

    process: int
    status: int

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
        """Hand an order to a worker; a dead one is replaced first."""
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
        """Where a worker's stderr goes."""
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
        self._reap(_PATIENCE_SECONDS)

    def stop(self) -> None:
        """Stop all workers at once, whatever they are at."""
        for process in self._processes.values():
            process.terminate()
        self._reap(_PATIENCE_SECONDS)

    def _start(self, worker: int) -> "subprocess.Popen[str]":
        with self.log(worker).open("a") as log:
            process = subprocess.Popen(
                self._command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                process_group=0,
            )
        if worker in self._processes:
            _close_stdin(self._processes[worker])
        self._processes[worker] = process
        self._listeners[worker] = threading.Thread(
            target=self._listen, args=(worker, process), daemon=True
        )
        self._listeners[worker].start()
        return process

    def _listen(self, worker: int, process: "subprocess.Popen[str]") -> None:
        if process.stdout is None:
            raise RuntimeError("a worker has no stdout")
        with process.stdout as lines:
            for line in lines:
                # A process that is killed in the middle of a line leaves half of one.
                if line.endswith("\n"):
                    self._said.put((worker, Event.from_line(line)))
        self._said.put((worker, Ended(process.pid, process.wait())))

    def _reap(self, seconds: float) -> None:
        for process in self._processes.values():
            try:
                process.wait(seconds)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            _close_stdin(process)
        for listener in self._listeners.values():
            listener.join()


def _close_stdin(process: "subprocess.Popen[str]") -> None:
    # An order that a dead worker never read is still in the pipe.
    with suppress(BrokenPipeError):
        if process.stdin is not None:
            process.stdin.close()
