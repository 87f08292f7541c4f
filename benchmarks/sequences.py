"""Attention on long sequences: growth of time and memory with the length, for every term set.

    python -m benchmarks.sequences
    python -m benchmarks.sequences --terms 0010,1111 --rounds 3 --json

Forward and backward of the operator alone, in float32: 64 channels, 2 heads, batch 1, queries and
keys of the same length, by the method that `plan` chooses. Memory is the peak above the operands in
a fresh process; short calls run for as many rounds as fill a second. Growth is from the second
longest length to the longest, which is twice as long: 2 is linear, 4 quadratic.
"""

import functools
import itertools
import statistics
from collections.abc import Callable

import torch
from torch import Tensor

from benchmarks.alternation import alternate, median_ratio
from benchmarks.command import measure_rows, run
from benchmarks.result import Result, Row
from quatrain.cost import peak_memory
from quatrain.ops.attention import AttentionInputs, attend, plan
from quatrain.ops.positions import Grid
from quatrain.ops.support import Structure, Support
from quatrain.ops.terms import Operands
from quatrain.specs import ALL_TERM_SETS, Term

LENGTHS = [4096, 8192, 16384]
HEADS, WIDTH = 2, 32
_ALL = [str(each) for each in ALL_TERM_SETS]


def prepare(terms: str, length: int, causal: bool) -> Callable[[], object]:
    """A function that runs one forward and backward pass."""
    torch.manual_seed(0)
    chosen, grid = Term.parse(terms), Grid((length,), (length,))

    def leaf(*shape: int) -> Tensor:
        return (torch.randn(*shape) * WIDTH**-0.5).requires_grad_()

    inputs = Operands(
        value=leaf(1, HEADS, length, WIDTH),
        query=leaf(1, HEADS, length, WIDTH) if chosen.use_query else None,
        key=leaf(1, HEADS, length, WIDTH) if chosen.use_content else None,
        content_vector=leaf(HEADS, WIDTH) if Term.KEY in chosen else None,
        position_vector=leaf(HEADS, WIDTH) if Term.POSITION in chosen else None,
        relative=(leaf(HEADS, 2 * length - 1, WIDTH),) if chosen.use_position else (),
    )
    leaves = [x for x in (*vars(inputs).values(), *inputs.relative) if isinstance(x, Tensor)]

    def call() -> None:
        output = attend(AttentionInputs(chosen, inputs, grid, Support(causal=causal)))
        torch.autograd.grad(output, leaves, torch.ones_like(output))

    return call


def measure(terms: str, lengths: list[int], rounds: int) -> Result:
    """Measure each term set, causal and not."""
    chosen = [str(Term.parse(each)) for each in terms.split(",")] if terms else _ALL
    cases = list(itertools.product(chosen, (False, True)))
    rows = measure_rows(cases, lambda case: _row(case[0], lengths, case[1], rounds))
    return Result.from_rows("sequences", rounds=rounds, rows=rows)


def _row(terms: str, lengths: list[int], causal: bool, rounds: int) -> Row:
    *_, half, longest = lengths
    grid, structure = Grid((longest,), (longest,)), Structure(causal)
    bytes_at = {
        length: peak_memory(
            "benchmarks.sequences:prepare", {"terms": terms, "length": length, "causal": causal}
        )
        for length in lengths
    }
    calls = {str(length): prepare(terms, length, causal) for length in (half, longest)}
    seconds = alternate(calls, rounds=rounds, warmup=1, at_least=1.0)
    return {
        "terms": terms,
        "order": "causal" if causal else "both ways",
        "method": plan(Term.parse(terms), grid, structure).method,
        **{f"MiB at {length:,}": size / 2**20 for length, size in bytes_at.items()},
        "memory growth": bytes_at[longest] / bytes_at[half],
        f"ms at {longest:,}": 1e3 * statistics.median(seconds[str(longest)]),
        "time growth": median_ratio(seconds[str(longest)], seconds[str(half)]),
    }


if __name__ == "__main__":
    run(__doc__, functools.partial(measure, lengths=LENGTHS), rounds=3, terms="")
