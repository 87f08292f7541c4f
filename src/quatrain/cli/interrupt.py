"""Ctrl-C while modules are imported, which for torch takes seconds."""

import os
import signal
import threading
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from types import FrameType

    from quatrain.study import Study

STOPPED = "Stopped.\n"
STATUS = 130
"""The exit status of a program that Ctrl-C ended, as in shells."""


@contextmanager
def leave_on_interrupt() -> Generator[None]:
    """In the block, Ctrl-C ends the program at once, with one sentence.

    No work has started yet that needs a cleanup, and libraries that are interrupted while they are
    imported raise other errors.
    """
    main = threading.current_thread() is threading.main_thread()
    # A background program of a script ignores Ctrl-C, and continues to do so.
    if not main or signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        yield
        return
    signal.signal(signal.SIGINT, _leave)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def load_study(path: Path) -> "Study":
    """Load a study file; Ctrl-C during its imports ends the program at once."""
    from quatrain.study import load_study

    with leave_on_interrupt():
        return load_study(path)


def _leave(_number: int, _frame: "FrameType | None") -> None:
    os.write(2, STOPPED.encode())
    os._exit(STATUS)
