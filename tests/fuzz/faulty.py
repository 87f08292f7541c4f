"""Readers with faults, for the tests of `fuzz.campaign`, and the program of its child process."""

import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

from fuzz import campaign
from fuzz.case import Case, Reader
from fuzz.mutators import mutate_bytes
from quatrain.specs import DataError


def spin() -> None:
    """Use the processor without an end."""
    while True:
        pass


def refuse() -> None:
    """Raise an error of the library whose message is no sentence."""
    error = DataError("a", "field")
    error.message = "a\nb"
    raise error


def fail_at(number: int, fault: Callable[[], object]) -> Reader:
    """A reader that fails at the input of this number."""

    def open_case(folder: Path) -> Case:
        left = [number + 1]

        def read() -> None:
            left[0] -= 1
            if left[0] < 0:
                left[0] = 10**9
                fault()

        return Case(folder / "file", (b"example",), read)

    return Reader(open_case, mutate_bytes)


FAULTY = {
    "exception": fail_at(2, lambda: {}[0]),
    "sentence": fail_at(2, refuse),
    "memory": fail_at(2, lambda: bytes(2**40)),
    "abort": fail_at(2, os.abort),
    "spin": fail_at(2, spin),
    "blocked": fail_at(2, lambda: time.sleep(10**6)),
}

if __name__ == "__main__":
    campaign.CPU_SECONDS, campaign.BLOCKED_SECONDS = 0.1, 5
    campaign.serve(json.loads(sys.argv[1]), FAULTY)
