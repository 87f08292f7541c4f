"""The standard streams of the program: all open, and stdout for its own output only."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO


def open_closed_streams() -> None:
    """Open the null device for each standard stream that is closed, as after `>&-`.

    Otherwise the next file or pipe of the process would get the descriptor of that stream.
    """
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            stream = open(os.devnull, mode, encoding="utf-8")  # noqa: SIM115, PTH123 - stays open
            os.set_inheritable(stream.fileno(), True)
            setattr(sys, name, stream)


@contextmanager
def private_stdout() -> Iterator[None]:
    """Reserve stdout for `sys.stdout`, and redirect all other output on it to stderr.

    This uses file descriptors, since libraries in C print too, and lasts until the process ends,
    since some print at exit. It does nothing if `sys.stdout` was replaced, as in tests, or closed.
    """
    if sys.stdout is not sys.__stdout__:
        yield
        return
    sys.stdout.flush()
    private = os.dup(1)
    os.dup2(2, 1)
    with open(private, "w", encoding=sys.stdout.encoding, errors=sys.stdout.errors) as own:  # noqa: PTH123
        if own.isatty():
            own.reconfigure(line_buffering=True)
        sys.stdout = own
        try:
            yield
        finally:
            _flush(own)
            sys.stdout = sys.stderr


def _flush(stream: TextIO) -> None:
    try:
        stream.flush()
    except BrokenPipeError:  # the reader has ended, as `head` does
        with Path(os.devnull).open("w") as nothing:
            os.dup2(nothing.fileno(), stream.fileno())
