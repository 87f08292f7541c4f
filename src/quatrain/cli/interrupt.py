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
"""What shells give a program that Ctrl-C ended."""


@contextmanager
def leave_on_interrupt() -> Generator[None]:
    """In the block Ctrl-C ends the program at once, with one sentence.

    Nothing is under way yet that would have to be put in order, and libraries that are interrupted
    while they are imported make other errors of it.
    """
    main = threading.current_thread() is threading.main_thread()
    # A program in the background of a script ignores Ctrl-C, and goes on doing so.
    if not main or signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        yield
        return
    signal.signal(signal.SIGINT, _leave)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def load_study(path: Path) -> "Study":
    """`quatrain.study.load_study`, which runs the imports of the study file."""
    from quatrain.study import load_study

    with leave_on_interrupt():
        return load_study(path)


def _leave(_number: int, _frame: "FrameType | None") -> None:
    os.write(2, STOPPED.encode())
    os._exit(STATUS)
