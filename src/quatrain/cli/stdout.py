"""Stdout for the program alone: what else is printed in its process goes to stderr."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def private_stdout() -> Iterator[None]:
    """Let `sys.stdout` write to stdout, and everything else that writes to it go to stderr.

    Done on the level of file descriptors, since libraries in C print too, and for the rest of the
    process, since some print at its very end. Where stdout is no file descriptor 1, as in tests,
    nothing is done.
    """
    if None in {sys.stdout, sys.stderr} or sys.stdout is not sys.__stdout__:
        yield
        return
    sys.stdout.flush()
    private = os.dup(1)
    os.dup2(2, 1)
    sys.stdout = open(  # noqa: SIM115, PTH123 - open to the end of the process
        private, "w", encoding=sys.stdout.encoding, errors=sys.stdout.errors
    )
    if sys.stdout.isatty():
        sys.stdout.reconfigure(line_buffering=True)
    try:
        yield
    finally:
        _flush(private)
        sys.stdout = sys.stderr


def _flush(descriptor: int) -> None:
    try:
        sys.stdout.flush()
    except BrokenPipeError:  # the reader has seen enough, as `head` has
        with Path(os.devnull).open("w") as nothing:
            os.dup2(nothing.fileno(), descriptor)
