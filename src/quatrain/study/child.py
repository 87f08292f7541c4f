"""Signals, streams and arguments of the processes that execute runs: workers and ranks."""

import io
import signal
import sys
import threading
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from quatrain.study.pool import STOP_SIGNALS


class StopRequest:
    """Whether a signal has asked this worker to stop; it ends an idle worker at once."""

    def __init__(self) -> None:
        self.is_made = False
        self._is_idle = True
        if threading.current_thread() is threading.main_thread():
            for number in STOP_SIGNALS:
                signal.signal(number, self._make)

    @contextmanager
    def delayed(self) -> Generator[None]:
        """A block that a signal does not end."""
        self._is_idle = False
        try:
            yield
        finally:
            self._is_idle = True

    def _make(self, _number: int, _frame: object) -> None:
        self.is_made = True
        if self._is_idle:
            sys.exit(0)


def absolute(path: str) -> Path:
    """The absolute path of an argument, for a program whose current folder may change."""
    return Path(path).absolute()


def accept_any_text() -> None:
    """Let tasks print any text, whatever the locale, and write it to the log at once."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(encoding="utf-8", errors="backslashreplace", line_buffering=True)
