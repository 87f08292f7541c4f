"""Read many mutated files, and collect the faults: anything but a result or one sentence.

    fuzz("coco", READERS["coco"], range(50), folder)    # in this process
    run_in_child({"coco": range(1000)})                 # with a deadline and bounded memory

The content of input N of a reader depends on its name and N alone.
"""

import importlib
import json
import os
import resource
import signal
import subprocess
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

from fuzz.case import Case, Reader
from quatrain.specs import QuatrainError

CPU_SECONDS = 20
"""The deadline of an input, in seconds of processor time."""
BLOCKED_SECONDS = 240
"""The deadline of an input in seconds, which one that waits for something reaches."""
MEMORY = 3 * 2**30
"""Bytes that the readers may allocate in addition to the address space of their imports."""

_LONGEST_SENTENCE = 4_100
_TESTS = Path(__file__).parents[1]


@dataclass
class Outcome:
    """The inputs of a reader, by what became of them."""

    read: int = 0
    refused: int = 0
    faults: list[str] = field(default_factory=list)
    seconds: float = 0.0
    """Processor time."""


def write_input(name: str, reader: Reader, number: int, case: Case) -> str:
    """Write an input of a reader, and return how to repeat it; bombs have negative numbers."""
    if number < 0:
        from fuzz.bombs import BOMBS

        bomb, write = list(BOMBS[name].items())[-1 - number]
        case.path.write_bytes(case.examples[0])
        write(case.path)
        return f"{name}, bomb {bomb!r}"
    random = Random(f"{name} {number}")
    case.path.write_bytes(reader.mutate(random, (*case.examples, *case.refused)))
    return f'tests/fuzz "{name}" --first {number}'


def fuzz(
    name: str,
    reader: Reader,
    numbers: Iterable[int],
    folder: Path,
    begin: Callable[[int], None] = lambda _: None,
) -> Outcome:
    """Read the examples of a reader and its inputs of these numbers, in an empty folder.

    `begin` is called before each input.
    """
    outcome, start = Outcome(), time.process_time()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        case = reader.open(folder)
        for number, content in enumerate(case.examples):
            case.path.write_bytes(content)
            fault = _fault(case, outcome)
            if fault or outcome.refused:
                outcome.faults.append(f"{name}: example {number} is refused: {fault}")
                return outcome
        outcome.read = 0
        for number in numbers:
            begin(number)
            title = write_input(name, reader, number, case)
            fault = _fault(case, outcome)
            if fault:
                outcome.faults.append(f"{title}: {fault}")
    outcome.seconds = time.process_time() - start
    return outcome


def _fault(case: Case, outcome: Outcome) -> str:
    """Read the file; the fault, or nothing."""
    try:
        case.read()
    except QuatrainError as error:
        outcome.refused += 1
        return problem_of(error)
    except BaseException as error:
        if isinstance(error, KeyboardInterrupt):
            raise
        frames = traceback.extract_tb(error.__traceback__)
        ours = [frame for frame in frames if "quatrain" in Path(frame.filename).parts]
        where = ours[-1] if ours else frames[-1]
        place = f"{Path(where.filename).name}:{where.lineno}"
        return f"{type(error).__name__}: {str(error)[:200]!r} at {place}"
    outcome.read += 1
    return ""


def problem_of(error: QuatrainError) -> str:
    """The reason why the message of an error is not one sentence, or nothing."""
    text = str(error)
    if len(text.splitlines()) != 1 or "\n" in text:
        return f"a message of several lines: {text[:300]!r}"
    if len(text) > _LONGEST_SENTENCE:
        return f"a message of {len(text)} characters: {text[:300]!r}"
    return "" if error.field else f"an error without a field: {text[:300]!r}"


def run_in_child(
    numbers: Mapping[str, range],
    end: Callable[[str, Outcome], None] = lambda *_: None,
    program: str = "fuzz.campaign",
) -> dict[str, Outcome]:
    """Read the inputs of these numbers by reader in a child process, and in a new one after each
    input that ended it.

    `end` is called with each reader and its outcome; `program` is the module of the child.
    """
    outcomes = {name: Outcome() for name in numbers}
    left = {name: each for name, each in numbers.items() if each}

    def add(name: str, outcome: Outcome) -> None:
        _add(outcomes[name], outcome)
        del left[name]
        end(name, outcomes[name])

    while left:
        last, fault = _run_child(left, add, program)
        if not left:
            break
        name, _, number = last.rpartition(" ")
        assert name in left, f"the child ended before its first input: {fault}"
        outcomes[name].faults.append(f"{name} --first {number}: {fault}")
        left[name] = range(int(number) + 1, left[name].stop)
        if not left[name]:
            add(name, Outcome())
    return outcomes


def _run_child(
    numbers: Mapping[str, range], add: Callable[[str, Outcome], None], program: str
) -> tuple[str, str]:
    """Run one child process, which calls `add` through its output.

    Returns:
        The reader and the number of the last input, and the reason of the end.
    """
    jobs = {name: [each.start, each.stop] for name, each in numbers.items()}
    with tempfile.TemporaryFile() as errors:
        environment = {**os.environ, "PYTHONPATH": _path(), "OMP_NUM_THREADS": "1"}
        command = [sys.executable, "-m", program, json.dumps(jobs)]
        with subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=errors, env=environment
        ) as process:
            last = _follow(process.stdout or (), add)
        errors.seek(0)
        output = errors.read().decode(errors="replace")[-500:]
    return last, f"{_ending(process.returncode)} {output}"


def _follow(lines: Iterable[bytes], add: Callable[[str, Outcome], None]) -> str:
    """Read the output of a child; return its last input."""
    last = ""
    for line in lines:
        word, _, rest = line.decode().strip().partition(" ")
        if word == "begin":
            last = rest
        else:
            name, outcome = json.loads(rest)
            add(name, Outcome(**outcome))
    return last


def _add(total: Outcome, part: Outcome) -> None:
    total.read += part.read
    total.refused += part.refused
    total.faults += part.faults
    total.seconds += part.seconds


def _ending(code: int) -> str:
    """The reason of the end of a child."""
    if code == -signal.SIGPROF:
        return f"it took more than {CPU_SECONDS} s of processor time"
    if code == -signal.SIGALRM:
        return f"it was not read in {BLOCKED_SECONDS} s"
    return f"the process ended by {signal.Signals(-code).name}" if code < 0 else f"exit {code}"


def _path() -> str:
    return os.pathsep.join([str(_TESTS), *filter(None, [os.environ.get("PYTHONPATH")])])


def limit_memory(bytes_more: int) -> None:
    """Let this process allocate this many bytes more than its present address space."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    limit = pages * resource.getpagesize() + bytes_more
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))


def serve(jobs: Mapping[str, list[int]], readers: Mapping[str, Reader]) -> None:
    """Read inputs and report them on stdout, which libraries cannot write to."""
    channel = os.dup(1)
    os.dup2(2, 1)
    if any(first < 0 for first, _ in jobs.values()):
        importlib.import_module("fuzz.bombs")  # before the limit
    limit_memory(MEMORY)
    for name, (first, stop) in jobs.items():

        def begin(number: int, name: str = name) -> None:
            signal.setitimer(signal.ITIMER_PROF, CPU_SECONDS)
            signal.setitimer(signal.ITIMER_REAL, BLOCKED_SECONDS)
            os.write(channel, f"begin {name} {number}\n".encode())

        with tempfile.TemporaryDirectory() as folder:
            outcome = fuzz(name, readers[name], range(first, stop), Path(folder), begin)
        os.write(channel, f"end {json.dumps([name, vars(outcome)])}\n".encode())


if __name__ == "__main__":
    from fuzz.readers import READERS

    serve(json.loads(sys.argv[1]), READERS)
