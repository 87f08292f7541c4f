"""Time calls against each other: each once in turn, in one process, round after round.

The ratio of two calls holds where the machine's speed drifts; a time does not. Ratios are medians
over rounds.
"""

import statistics
import time
from collections.abc import Callable, Mapping, Sequence


def alternate(
    calls: Mapping[str, Callable[[], object]], *, rounds: int, warmup: int = 2, at_least: float = 0
) -> dict[str, list[float]]:
    """Seconds of each call in each round, after some rounds that are not counted.

    There are more rounds where all together would take less than `at_least` seconds: calls that
    take a moment differ most from one to the next.
    """
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    number, spent = 0, 0.0
    while number < rounds + warmup or spent < at_least:
        for name, call in calls.items():
            started = time.perf_counter()
            call()
            taken = time.perf_counter() - started
            if number >= warmup:
                seconds[name].append(taken)
                spent += taken
        number += 1
    return seconds


def median_ratio(ours: Sequence[float], theirs: Sequence[float]) -> float:
    """Ours as a multiple of theirs, round by round."""
    return statistics.median(mine / other for mine, other in zip(ours, theirs, strict=True))
