"""Attention on maps: every term set, compared with dense attention and torch's kernel.

    python -m benchmarks.attention --maps 64x64
    python -m benchmarks.attention --maps 50x84/25x42,96x96 --terms 0011,1111 --rounds 9 --json

The operator alone, with position bias and without projections: 256 channels, 8 heads, batch 1.
"50x84/25x42" is a map of queries and the map of its keys. Ours is the method that `plan` chooses.
Dense computes the position logits of every pair as bx + by, adds the content logits, takes the
softmax and multiplies by the values. SDPA is `torch.nn.functional.scaled_dot_product_attention` of
the same queries, keys and values without positions: a lower bound for content terms.

"forward" is without gradients, "training" is forward and backward, with gradients to every
operand. Memory is the peak above the operands in a fresh process. On maps of more than 25 million
pairs the memory of dense is that of one head times 8; above 100 million pairs dense is not timed
(a dash).

On a GPU 10 calls are queued before each synchronization, as in a network: the time to launch
kernels then counts only where it exceeds their run time. The column "as graphs / SDPA" excludes
launches: both sides are replayed as CUDA graphs. Memory is the peak of torch's allocator.
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
from benchmarks.command import choose, measure_rows, parse_size, run
from benchmarks.result import Result, Row
from quatrain.cost import allocator_peak, peak_memory
from quatrain.ops.attention import AttentionInputs, attend, plan
from quatrain.ops.positions import Grid
from quatrain.ops.support import Support
from quatrain.ops.terms import Operands, biased_query, key_logits, position_biases, position_query
from quatrain.specs import ALL_TERM_SETS, InputError, Term

Implementation = Literal["ours", "dense", "sdpa"]
MAPS = "50x84/25x42,50x84,64x64,96x96,100x168"
CHANNELS, HEADS = 256, 8
_ALL = [str(each) for each in ALL_TERM_SETS]
MOST_PAIRS_AT_ONCE, MOST_PAIRS_TIMED = 25e6, 100e6
QUEUE = 10
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


def grid_of(name: str) -> Grid:
    """Parse "50x84/25x42", the sizes of queries and keys, into a grid with a key stride.

    Raises:
        InputError: if the text is not two sizes, or no key stride gives these keys.

    Example:
        >>> grid_of("50x84/25x42").key_stride
        2
    """
    query_size, slash, key_size = name.partition("/")
    queries = parse_size("maps", query_size)
    keys = parse_size("maps", key_size) if slash else queries
    stride = -(-queries[0] // keys[0])
    strided = tuple(-(-size // stride) for size in queries)
    if keys != strided:
        example = f"{strided[0]}x{strided[1]}"
        raise InputError(f"maps={name} has no single stride; use keys of {example}", "maps")
    return Grid(queries, keys, stride)


def prepare(
    implementation: Implementation,
    terms: str,
    name: str,
    training: bool,
    heads: int = HEADS,
    device: str = "cpu",
    dtype: str = "float32",
) -> Callable[[], object]:
    """A function that runs one pass of an implementation."""
    chosen, grid = Term.parse(terms), grid_of(name)
    needed = Term.parse("1000") if implementation == "sdpa" else chosen
    inputs = operands(needed, grid, heads, device, dtype)
    leaves = [x for x in (*vars(inputs).values(), *inputs.relative) if isinstance(x, Tensor)]
    implementations: dict[Implementation, Callable[[], Tensor]] = {
        "ours": lambda: attend(AttentionInputs(chosen, inputs, grid, Support())),
        "dense": lambda: dense(chosen, inputs, grid),
        "sdpa": lambda: scaled_dot_product_attention(
            inputs.query, inputs.key, inputs.value, scale=1.0
        ),
    }
    forward = implementations[implementation]

    def call() -> None:
        if training:
            output = forward()
            torch.autograd.grad(output, leaves, torch.ones_like(output))
        else:
            with torch.no_grad():
                forward()

    return call


def operands(terms: Term, grid: Grid, heads: int, device: str, dtype: str) -> Operands:
    """Random operands of the terms, with logits of about unit size."""
    torch.manual_seed(0)
    width = CHANNELS // HEADS
    queries, keys = math.prod(grid.queries), math.prod(grid.keys)

    def leaf(*shape: int, scale: float = 1.0) -> Tensor:
        x = torch.randn(*shape, device=device, dtype=DTYPES[dtype]) * scale
        return x.requires_grad_()

    axes = range(grid.ndim) if terms.use_position else ()
    return Operands(
        value=leaf(1, heads, keys, width),
        query=leaf(1, heads, queries, width, scale=width**-0.5) if terms.use_query else None,
        key=leaf(1, heads, keys, width) if terms.use_content else None,
        content_vector=leaf(heads, width, scale=width**-0.5) if Term.KEY in terms else None,
        position_vector=leaf(heads, width, scale=width**-0.5) if Term.POSITION in terms else None,
        relative=tuple(leaf(heads, len(grid.relative_range(axis)), width) for axis in axes),
    )


def dense(terms: Term, inputs: Operands, grid: Grid) -> Tensor:
    """Attention as usually implemented: one logit for every pair and head."""
    query, positions = biased_query(terms, inputs), position_query(terms, inputs)
    scores = inputs.value.new_zeros(1, 1, 1, 1)
    if Term.QUERY_KEY in terms and query is not None and inputs.key is not None:
        scores = query @ inputs.key.mT
    elif Term.KEY in terms:
        scores = key_logits(terms, inputs)[:, :, None]
    if positions is not None:
        rows, columns = position_biases(positions, inputs.relative, grid)
        scores = scores + (rows[..., :, None] + columns[..., None, :]).flatten(-2)
    heads, keys = inputs.value.shape[1:3]
    weights = scores.expand(1, heads, math.prod(grid.queries), keys).softmax(-1)
    return weights @ inputs.value


def measure(
    maps: str, terms: str, rounds: int, device: str = "cpu", dtype: str = "float32"
) -> Result:
    """Measure each map, term set and pass: ratios of ours to dense and to SDPA."""
    chosen = [str(Term.parse(each)) for each in terms.split(",")] if terms else _ALL
    choose("dtype", dtype, DTYPES)
    names = maps.split(",")
    for name in names:
        grid_of(name)
    cases = list(itertools.product(names, chosen, (False, True)))
    rows = measure_rows(cases, lambda case: _row(*case, rounds, device, dtype))
    return Result.from_rows("attention", rounds=rounds, rows=rows, device=device, dtype=dtype)


def _row(name: str, terms: str, training: bool, rounds: int, device: str, dtype: str) -> Row:
    grid = grid_of(name)
    method = plan(Term.parse(terms), grid, device=torch.device(device).type).method
    arguments = {"name": name, "training": training, "device": device, "dtype": dtype}
    timed = _pairs(grid) <= MOST_PAIRS_TIMED
    names: list[Implementation] = ["ours", "dense", "sdpa"] if timed else ["ours", "sdpa"]
    calls = {each: prepare(each, terms, **arguments) for each in names}
    on_gpu = device != "cpu"
    timed_calls = {each: _queued(call) for each, call in calls.items()} if on_gpu else calls
    seconds = alternate(timed_calls, rounds=rounds, warmup=1)
    ours, dense_heads = seconds["ours"], 1 if _pairs(grid) > MOST_PAIRS_AT_ONCE else HEADS
    children = [
        functools.partial(_memory, "ours", terms=terms, **arguments),
        functools.partial(_memory, "dense", terms=terms, heads=dense_heads, **arguments),
        functools.partial(_memory, "sdpa", terms="1000", **arguments),
    ]
    with ThreadPoolExecutor(max_workers=1 if on_gpu else 2) as pool:
        memory, dense_memory, sdpa_memory = pool.map(lambda child: child(), children)
    row = {
        "map": name,
        "terms": terms,
        "pass": "training" if training else "forward",
        "method": method,
        "time / dense": median_ratio(ours, seconds["dense"]) if timed else "-",
        "time / SDPA": median_ratio(ours, seconds["sdpa"]),
        "memory / dense": memory / dense_memory,
        "memory / SDPA": memory / sdpa_memory,
        "ms": 1e3 * statistics.median(ours) / (QUEUE if on_gpu else 1),
        "MiB": memory / 2**20,
    }
    if on_gpu:
        graphs = {each: _queued(_graph(calls[each])) for each in ("ours", "sdpa")}
        seconds = alternate(graphs, rounds=rounds, warmup=1)
        row["as graphs / SDPA"] = median_ratio(seconds["ours"], seconds["sdpa"])
    return row


def _queued(call: Callable[[], object]) -> Callable[[], None]:
    """Queue several calls on a GPU and synchronize once."""

    def calls() -> None:
        for _ in range(QUEUE):
            call()
        torch.cuda.synchronize()

    return calls


def _graph(call: Callable[[], object]) -> Callable[[], object]:
    """Capture a call as a CUDA graph and return the function that replays it."""
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        call()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        call()
    return graph.replay


@functools.cache
def _memory(implementation: Implementation, *, heads: int = HEADS, **options: str | bool) -> int:
    """Peak bytes, scaled to all heads."""
    arguments = {"implementation": implementation, "heads": heads, **options}
    if options["device"] == "cpu":
        peak = peak_memory("benchmarks.attention:prepare", arguments)
    else:
        peak = allocator_peak(prepare(**arguments))
    return peak * (HEADS // heads)


def _pairs(grid: Grid) -> int:
    return math.prod(grid.queries) * math.prod(grid.keys)


if __name__ == "__main__":
    run(__doc__, measure, rounds=5, maps=MAPS, terms="", device="cpu", dtype="float32")
