"""The latency of a call: the median of many rounds, with its spread.

    latency(lambda: module(x))      # Latency(median_seconds=0.0021, spread_seconds=0.0001, ...)

Median and interquartile range are robust to a few rounds that another process disturbs.
`torch.utils.benchmark.Timer` is not used: it times blocks of calls, or adds two calls to each.
"""

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch

from quatrain.specs import SpecError


@dataclass(frozen=True)
class Latency:
    """Seconds of one call: the median of `rounds`, and the interquartile range as the spread."""

    median_seconds: float
    spread_seconds: float
    rounds: int


def latency(call: Callable[[], object], *, warmup: int = 3, rounds: int = 30) -> Latency:
    """Time `call` for some rounds, after warm-up rounds that are not timed.

    On a GPU each round is synchronized. The caller sets the gradient mode and number of threads.

    Raises:
        SpecError: if there are too few rounds for a spread, or `warmup` is negative.
    """
    if rounds < 2:
        raise SpecError(f"rounds={rounds} is too few for a spread; use 2 or more", "rounds")
    if warmup < 0:
        raise SpecError(f"warmup={warmup} is negative; use 0 or more untimed rounds", "warmup")
    for _ in range(warmup):
        _timed(call)
    seconds = [_timed(call) for _ in range(rounds)]
    lower, median, upper = statistics.quantiles(seconds, n=4, method="inclusive")
    return Latency(median_seconds=median, spread_seconds=upper - lower, rounds=rounds)


def _timed(call: Callable[[], object]) -> float:
    _synchronize()
    start = time.perf_counter()
    call()
    _synchronize()
    return time.perf_counter() - start


def _synchronize() -> None:
    if torch.cuda.is_initialized():
        torch.cuda.synchronize()
