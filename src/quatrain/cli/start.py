"""Start of the program `quatrain`: light, so that Ctrl-C works while modules are imported.

Importing torch takes seconds, and libraries that are interrupted meanwhile raise other errors.
"""

import os
import signal
import sys
import threading
from collections.abc import Generator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from types import FrameType

STOPPED = "Stopped.\n"
STATUS = 130
"""The exit status of a program that Ctrl-C ended, as in shells."""


def main() -> None:
    """Import the program and run it with the arguments of the process."""
    with leave_on_interrupt():
        try:
            from quatrain.cli.main import main as run_program
        except ModuleNotFoundError as error:
            from quatrain.specs import missing_package

            missing = missing_package(error.name or "")
            if missing is None:
                raise
            sys.stderr.write(f"Error: {missing}\n")
            sys.exit(2)
    run_program()


@contextmanager
def leave_on_interrupt() -> Generator[None]:
    """In the block, Ctrl-C ends the program at once, with one sentence and without cleanup."""
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


def _leave(_number: int, _frame: "FrameType | None") -> None:
    os.write(2, STOPPED.encode())
    os._exit(STATUS)


if __name__ == "__main__":  # as an engine starts it
    main()
