"""Attention on maps: every term set, beside the dense computation and beside torch's kernel.

    python -m benchmarks.attention --maps 64x64
    python -m benchmarks.attention --maps 50x84/25x42,96x96 --terms 0011,1111 --rounds 9 --json

The operator alone: position tables are included, projections are not. 256 channels, 8 heads,
batch 1; "50x84/25x42" is a map of queries and the map of its keys. Ours is the method
that `plan` chooses. Dense lays out the position logits of every pair as bx + by, adds the content
logits, takes the softmax and multiplies with the values. SDPA is
`torch.nn.functional.scaled_dot_product_attention` of the same queries, keys and values without
any position: the floor for content terms.

"forward" is without gradients, "training" is forward and backward, with gradients to every
operand. Memory is the peak above the operands in a fresh process. Where a map has more than
25 million pairs, the memory of dense is that of one head times 8, and above 100 million pairs
dense is not timed: a dash.

On a GPU 10 calls are queued before the clock waits for them, as they are in a network: what it
takes to launch kernels then shows only where it exceeds what they do. The column "as graphs / SDPA"
leaves launching out: both sides are replayed as CUDA graphs. Memory is the peak of torch's
allocator.
"""

import functools
import itertools
import math
import statistics
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Literal

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from benchmarks.alternation import alternate, median_ratio
from benchmarks.command import measured, one_of, run, sizes_of
from benchmarks.outcome import Outcome, Row
from quatrain.cost import allocator_peak, peak_memory
from quatrain.ops.attention import attend, plan
from quatrain.ops.positions import Grid
from quatrain.ops.support import Support
from quatrain.ops.terms import Operands, biased_query, key_logits, position_biases, position_query
from quatrain.specs import ALL_TERM_SETS, InputError, Term

Way = Literal["ours", "dense", "sdpa"]
MAPS = "50x84/25x42,50x84,64x64,96x96,100x168"
CHANNELS, HEADS = 256, 8
_ALL = [str(each) for each in ALL_TERM_SETS]
MOST_PAIRS_AT_ONCE, MOST_PAIRS_TIMED = 25e6, 100e6
QUEUE = 10
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


def grid_of(name: str) -> Grid:
    """The grid that "50x84/25x42" names; keys lie on every so many rows and columns.

    Raises:
        InputError: if it names no maps, or the keys cannot lie so.

    Example:
        >>> grid_of("50x84/25x42").key_stride
        2
    """
    asking, over, answering = name.partition("/")
    queries = sizes_of("maps", asking)
    keys = sizes_of("maps", answering) if over else queries
    stride = -(-queries[0] // keys[0])
    reached = tuple(-(-size // stride) for size in queries)
    if keys != reached:
        found = f"{reached[0]}x{reached[1]}"
        raise InputError("maps", name, f"keys of one stride, such as {found}", "mend the keys")
    return Grid(queries, keys, stride)


def prepare(
    way: Way,
    terms: str,
    name: str,
    training: bool,
    heads: int = HEADS,
    device: str = "cpu",
    dtype: str = "float32",
) -> Callable[[], object]:
    """One pass by one `way`, ready to be called."""
    chosen, grid = Term.parse(terms), grid_of(name)
    made = operands(Term.parse("1000") if way == "sdpa" else chosen, grid, heads, device, dtype)
    leaves = [x for x in (*vars(made).values(), *made.relative) if isinstance(x, Tensor)]
    ways: dict[Way, Callable[[], Tensor]] = {
        "ours": lambda: attend(chosen, made, grid, Support()),
        "dense": lambda: dense(chosen, made, grid),
        "sdpa": lambda: scaled_dot_product_attention(made.query, made.key, made.value, scale=1.0),
    }
    forward = ways[way]

    def call() -> None:
        if training:
            output = forward()
            torch.autograd.grad(output, leaves, torch.ones_like(output))
        else:
            with torch.no_grad():
                forward()

    return call


def operands(terms: Term, grid: Grid, heads: int, device: str, dtype: str) -> Operands:
    """Random operands, of those that `terms` need, with logits of about the size of 1."""
    torch.manual_seed(0)
    width = CHANNELS // HEADS
    queries, keys = math.prod(grid.queries), math.prod(grid.keys)

    def leaf(*shape: int, scale: float = 1.0) -> Tensor:
        made = torch.randn(*shape, device=device, dtype=DTYPES[dtype]) * scale
        return made.requires_grad_()

    axes = range(grid.ndim) if terms.use_position else ()
    return Operands(
        value=leaf(1, heads, keys, width),
        query=leaf(1, heads, queries, width, scale=width**-0.5) if terms.use_query else None,
        key=leaf(1, heads, keys, width) if terms.use_content else None,
        key_bias=leaf(heads, width, scale=width**-0.5) if Term.KEY in terms else None,
        position_bias=leaf(heads, width, scale=width**-0.5) if Term.POSITION in terms else None,
        relative=tuple(leaf(heads, len(grid.offset_range(axis)), width) for axis in axes),
    )


def dense(terms: Term, made: Operands, grid: Grid) -> Tensor:
    """Attention as it is usually written: a logit for every pair and head, whatever the terms."""
    asks, places = biased_query(terms, made), position_query(terms, made)
    scores = made.value.new_zeros(1, 1, 1, 1)
    if Term.QUERY_KEY in terms and asks is not None and made.key is not None:
        scores = asks @ made.key.mT
    elif Term.KEY in terms:
        scores = key_logits(terms, made)[:, :, None]
    if places is not None:
        rows, columns = position_biases(places, made.relative, grid)
        scores = scores + (rows[..., :, None] + columns[..., None, :]).flatten(-2)
    heads, keys = made.value.shape[1:3]
    weights = scores.expand(1, heads, math.prod(grid.queries), keys).softmax(-1)
    return weights @ made.value


def measure(
    maps: str, terms: str, rounds: int, device: str = "cpu", dtype: str = "float32"
) -> Outcome:
    """A row for each map, term set and pass: ours as a multiple of dense and of SDPA."""
    chosen = [str(Term.parse(each)) for each in terms.split(",")] if terms else _ALL
    one_of("dtype", dtype, DTYPES)
    names = maps.split(",")
    for name in names:
        grid_of(name)
    cases = list(itertools.product(names, chosen, (False, True)))
    rows = measured(cases, lambda case: _row(*case, rounds, device, dtype))
    return Outcome.here("attention", rounds=rounds, rows=rows, device=device, dtype=dtype)


def _row(name: str, terms: str, training: bool, rounds: int, device: str, dtype: str) -> Row:
    grid = grid_of(name)
    method = plan(Term.parse(terms), grid, device=torch.device(device).type).method
    asked = {"name": name, "training": training, "device": device, "dtype": dtype}
    timed = _pairs(grid) <= MOST_PAIRS_TIMED
    ways: list[Way] = ["ours", "dense", "sdpa"] if timed else ["ours", "sdpa"]
    calls = {way: prepare(way, terms, **asked) for way in ways}
    on_gpu = device != "cpu"
    timed_calls = {way: _queued(call) for way, call in calls.items()} if on_gpu else calls
    seconds = alternate(timed_calls, rounds=rounds, warmup=1)
    ours, few = seconds["ours"], _pairs(grid) > MOST_PAIRS_AT_ONCE
    children = [
        functools.partial(_memory, "ours", terms=terms, **asked),
        functools.partial(_memory, "dense", terms=terms, heads=1 if few else HEADS, **asked),
        functools.partial(_memory, "sdpa", terms="1000", **asked),
    ]
    with ThreadPoolExecutor(max_workers=1 if on_gpu else 2) as pool:
        memory, dense_memory, floor = pool.map(lambda child: child(), children)
    row = {
        "map": name,
        "terms": terms,
        "pass": "training" if training else "forward",
        "method": method,
        "time / dense": median_ratio(ours, seconds["dense"]) if timed else "-",
        "time / SDPA": median_ratio(ours, seconds["sdpa"]),
        "memory / dense": memory / dense_memory,
        "memory / SDPA": memory / floor,
        "ms": 1e3 * statistics.median(ours) / (QUEUE if on_gpu else 1),
        "MiB": memory / 2**20,
    }
    if on_gpu:
        graphs = {way: _queued(_graph(calls[way])) for way in ("ours", "sdpa")}
        seconds = alternate(graphs, rounds=rounds, warmup=1)
        row["as graphs / SDPA"] = median_ratio(seconds["ours"], seconds["sdpa"])
    return row


def _queued(call: Callable[[], object]) -> Callable[[], None]:
    """Several calls of a GPU, waited for together."""

    def calls() -> None:
        for _ in range(QUEUE):
            call()
        torch.cuda.synchronize()

    return calls


def _graph(call: Callable[[], object]) -> Callable[[], object]:
    """What replays a call of a GPU, without what starts its kernels one by one."""
    beside = torch.cuda.Stream()
    beside.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(beside):
        call()
    torch.cuda.current_stream().wait_stream(beside)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        call()
    return graph.replay


@functools.cache
def _memory(way: Way, *, heads: int = HEADS, **asked: str | bool) -> int:
    """Bytes at the peak, for all heads."""
    named = {"way": way, "heads": heads, **asked}
    if asked["device"] == "cpu":
        peak = peak_memory("benchmarks.attention:prepare", named)
    else:
        peak = allocator_peak(prepare(**named))
    return peak * (HEADS // heads)


def _pairs(grid: Grid) -> int:
    return math.prod(grid.queries) * math.prod(grid.keys)


if __name__ == "__main__":
    run(__doc__, measure, rounds=5, maps=MAPS, terms="", device="cpu", dtype="float32")
