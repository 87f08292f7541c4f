"""Compare calls by running them in turn, round after round, in one process.

The ratio of two calls is stable on a machine whose speed drifts; a time is not. Ratios are medians
over rounds.
"""

import statistics
import time
from collections.abc import Callable, Mapping, Sequence


def alternate(
    calls: Mapping[str, Callable[[], object]], *, rounds: int, warmup: int = 2, at_least: float = 0
) -> dict[str, list[float]]:
    """Time each call once a round.

    Args:
        calls: the functions to time, by name.
        rounds: the least number of rounds.
        warmup: rounds before them, which are not timed.
        at_least: seconds that all timed calls together must reach; short calls, whose times vary
            the most, then have more rounds.

    Returns:
        The seconds of each call, one value a round.
    """
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    number, total = 0, 0.0
    while number < rounds + warmup or total < at_least:
        for name, call in calls.items():
            start = time.perf_counter()
            call()
            elapsed = time.perf_counter() - start
            if number >= warmup:
                seconds[name].append(elapsed)
                total += elapsed
        number += 1
    return seconds


def median_ratio(ours: Sequence[float], theirs: Sequence[float]) -> float:
    """The median over rounds of our time divided by theirs."""
    return statistics.median(mine / other for mine, other in zip(ours, theirs, strict=True))
