"""Decoding one token: the cost of a step early and late in a sequence.

    python -m benchmarks.steps
    python -m benchmarks.steps --late 1000 --rounds 99 --json

One step of causal self-attention with its projections: 256 channels, 8 heads, batch 1, float32.
0010 and 0000 cache running sums, attention with a window caches the keys of the window, all others
cache all keys. At position 10 a window of 31 is not full yet.
"""

import statistics
from collections.abc import Callable

import torch

from benchmarks.alternation import alternate, median_ratio
from benchmarks.command import run
from benchmarks.result import Result, Row
from quatrain.nn.generalized_attention import AttentionSpec

CHANNELS = 256
CASES = [("0010", None), ("0001", 31), ("0011", 31), ("0100", 31), ("1111", None)]


def step_at(terms: str, window: int | None, position: int) -> Callable[[], object]:
    """A function that runs the step at `position`, after that many tokens."""
    torch.manual_seed(0)
    attention = AttentionSpec(terms=terms, window=window).build(CHANNELS, ndim=1).eval()
    tokens = torch.randn(position + 1, 1, 1, CHANNELS)
    state = None
    with torch.no_grad():
        if window is None and terms != "0010":
            state = attention.cache_keys(tokens[:-1].flatten(1, 2).transpose(0, 1))
        else:
            for token in tokens[:-1]:
                _, state = attention.step(token, state)

    def call() -> None:
        with torch.no_grad():
            attention.step(tokens[-1], state)

    return call


def measure(early: int, late: int, rounds: int) -> Result:
    """Measure the early and the late step of each attention."""
    rows: list[Row] = []
    for terms, window in CASES:
        first, last = str(early), str(late)
        seconds = alternate(
            {p: step_at(terms, window, int(p)) for p in (first, last)}, rounds=rounds
        )
        rows.append(
            {
                "terms": terms,
                "window": "-" if window is None else str(window),
                f"ms at {early:,}": 1e3 * statistics.median(seconds[first]),
                f"ms at {late:,}": 1e3 * statistics.median(seconds[last]),
                "late / early": median_ratio(seconds[last], seconds[first]),
            }
        )
    return Result.from_rows("steps", rounds=rounds, rows=rows)


if __name__ == "__main__":
    run(__doc__, measure, rounds=99, early=10, late=10_000)
