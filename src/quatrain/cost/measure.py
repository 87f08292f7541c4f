"""The latency and the peak memory of a call.

    latency(lambda: module(x))      # Latency(median_seconds=0.0021, spread_seconds=0.0001, ...)

Latency is the median of many rounds, with the interquartile range as the spread: both are robust to
a few rounds that another process disturbs. `torch.utils.benchmark.Timer` is not used: it times
blocks of calls, or adds two calls to each.

Peak memory is measured in a new child process, where earlier allocations do not hide it. `prepare`
is "module:function", a function that takes JSON arguments, builds module and inputs, and returns
the call to measure.

    # in measured.py
    def attention(channels: int, length: int) -> Callable[[], object]:
        module, x = nn.MultiheadAttention(channels, 8), torch.randn(length, 1, channels)
        return lambda: module(x, x, x)

    peak_memory("measured:attention", {"channels": 512, "length": 4096})       # bytes

On a CPU this is the peak of the resident size, on a GPU the peak of torch's allocator, both above
their value just before the call, when module and inputs exist and the call has run once.
"""

import gc
import importlib
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from quatrain.specs import InputError, SpecError
from quatrain.specs.errors import shorten

_STATUS = Path("/proc/self/status")
_CLEAR = Path("/proc/self/clear_refs")
# With fixed thresholds the C library returns freed tensors to the system at once, so that the
# second call does not reuse the memory of the first.
_ALLOCATOR = {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "65536"}


@dataclass(frozen=True)
class Latency:
    """Seconds of one call: the median of `rounds`, and the interquartile range as the spread."""

    median_seconds: float
    spread_seconds: float
    rounds: int


def latency(call: Callable[[], object], *, warmup: int = 3, rounds: int = 30) -> Latency:
    """Time `call` for some rounds, after warm-up rounds that do not count.

    On a GPU each round is synchronized. The caller sets the gradient mode and number of threads.

    Raises:
        SpecError: if there are too few rounds for a spread, or `warmup` is negative.
    """
    if rounds < 2:
        raise SpecError(f"rounds={rounds} is too few for a spread; use 2 or more", "rounds")
    if warmup < 0:
        raise SpecError(f"warmup={warmup} is negative; use 0 or more untimed rounds", "warmup")
    seconds = []
    for _ in range(warmup + rounds):
        _synchronize()
        start = time.perf_counter()
        call()
        _synchronize()
        seconds.append(time.perf_counter() - start)
    lower, median, upper = statistics.quantiles(seconds[warmup:], n=4, method="inclusive")
    return Latency(median_seconds=median, spread_seconds=upper - lower, rounds=rounds)


def _synchronize() -> None:
    if torch.cuda.is_initialized():
        torch.cuda.synchronize()


def peak_memory(prepare: str, arguments: Mapping[str, Any], *, device: str = "cpu") -> int:
    """Peak bytes of the call that `prepare(**arguments)` returns, measured in a child process.

    The child has the working folder and search path of this process.

    Raises:
        InputError: if the name cannot be imported or the child fails; the message has the reason.
    """
    request = {"prepare": prepare, "arguments": dict(arguments), "device": device}
    child = subprocess.run(
        [sys.executable, "-P", "-c", "from quatrain.cost.measure import run_child; run_child()"],
        input=json.dumps({**request, "path": sys.path}),
        capture_output=True,
        encoding="utf-8",
        errors="backslashreplace",
        check=False,
        env={**os.environ, **_ALLOCATOR},
    )
    if child.returncode != 0:
        reason = (child.stderr.strip().splitlines() or [f"exit status {child.returncode}"])[-1]
        raise InputError(f"the child process of {shorten(prepare)} failed: {reason}", "prepare")
    return int(child.stdout.splitlines()[-1])


def run_child() -> None:
    """In the child: read a request from standard input, write the bytes to standard output."""
    request = json.load(sys.stdin)
    sys.path[:] = request["path"]
    module, _, function = request["prepare"].partition(":")
    call = getattr(importlib.import_module(module), function)(**request["arguments"])
    measure = allocator_peak if torch.device(request["device"]).type == "cuda" else _resident_peak
    sys.stdout.write(f"\n{measure(call)}\n")  # on its own line, even if the call printed


def allocator_peak(call: Callable[[], object]) -> int:
    """Peak bytes of a call in torch's GPU allocator, above those in use, in this process."""
    call()
    gc.collect()
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    call()
    torch.cuda.synchronize()
    return torch.cuda.max_memory_allocated() - before


def _resident_peak(call: Callable[[], object]) -> int:
    if not _CLEAR.exists():
        return _process_peak(call)
    call()
    gc.collect()
    _CLEAR.write_text("5")  # Linux: reset the peak
    before = _status("VmRSS")
    call()
    return max(0, _status("VmHWM") - before)


def _process_peak(call: Callable[[], object]) -> int:
    """The peak of the first call above the peak before it, where the peak cannot be reset."""
    import resource

    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    call()
    growth = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    return growth if sys.platform == "darwin" else growth * 1024


def _status(name: str) -> int:
    for line in _STATUS.read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) * 1024
    raise InputError(f"{_STATUS} has no line {name}; run on Linux", str(_STATUS))
