"""Which method computes an attention, as a pure function of what is asked.

    method      serves                                          why it is exact
    pooled      0000, 0010; no window                           the weights are those of all queries
    separable   maps: 0000, 0010, 0001, 0011                    rows and columns are summed in turn
    factored    maps: 0100, 0101, 0110, 0111                    weights of a query are a product
    fused       all                                             the softmax, a block at a time
    reference   all                                             it is the formula

An attend mask, which may differ in any pair, leaves fused and reference. Every method agrees with
the reference in value and gradient; the tests hold them to it. Only the reference holds a number
for every pair of a query and a key.

Source: Zhu et al. 2019, https://arxiv.org/abs/1904.05873, equation 2, for the terms; which method
serves them is our own.
"""

import math
from dataclasses import dataclass
from typing import Literal, cast

import torch

from quatrain.ops.attention.triton import operator as triton_operator
from quatrain.ops.positions import Grid, is_symbolic
from quatrain.ops.support import FULL_SUPPORT, Structure, Support
from quatrain.ops.terms import Operands
from quatrain.specs import SpecError, Term

ConcreteMethod = Literal["reference", "pooled", "separable", "factored", "fused"]
Method = Literal["auto", "reference", "pooled", "separable", "factored", "fused"]

Kernel = Literal["sdpa", "triton", "augmented", "blockwise"]
"""torch's own on content alone; ours for a GPU, which runs separable too; torch's on content and
positions side by side; or our blocks."""

SMALL = {1: 2**16, 2: 2**18}
"""Pairs of a query and a key up to which the formula itself is taken, by dimensions: 256 tokens, or
a map of 22 x 22. All heads are one matrix product then; blocks on a map are only as long as a row.
Measured on one core, 8 heads of 32: at 256 tokens blocks take 0.8 to 1.3 times as long; at 16 x 16
0.9 to 3.9, at 24 x 24 0.4 to 1.7, at 32 x 32 0.3 to 1.0, most with gradients and a batch of one."""

SMALL_ON_GPU = 2**20
"""The same for a map on a GPU where only our blocks would do, as in float64: 1,024 queries and as
many keys. A training step of a network in which blocks made windows of 7 on 23 x 30
took 20 times as long as with any other attention: a GPU waits for each block to be started."""


@dataclass(frozen=True)
class Plan:
    """The chosen method, the kernel that runs it where there are several, and why in a sentence."""

    method: ConcreteMethod
    reason: str
    kernel: Kernel | None = None


def plan(
    terms: Term,
    grid: Grid,
    structure: Structure = FULL_SUPPORT,
    method: Method = "auto",
    *,
    device: str = "cpu",
    widths: tuple[int, int] = (1, 1),
    double: bool = False,
) -> Plan:
    """Choose the method, or check the one that the caller forces.

    `widths` are those of a key and of a value of a head; `double` tells that they are in float64,
    which a GPU's kernels do not serve.

    Raises:
        SpecError: if the forced method does not serve these terms, grid and structure.
        InputError: if causality is asked for on a map, or a window is even.
    """
    structure.check(grid)
    fitting = _fitting(terms, grid, structure)
    kernel: Kernel = "blockwise"
    if not (double and is_gpu(device)):
        kernel = _kernel(terms, grid, structure, widths, device)
    if method == "auto":
        on_gpu = is_gpu(device) and kernel == "blockwise"
        small = is_small(grid, SMALL_ON_GPU if on_gpu and grid.ndim == 2 else None)
        chosen, why = _automatic(fitting, kernel, small=small, on_gpu=on_gpu)
    elif method == "reference" or method in fitting:
        chosen, why = cast(ConcreteMethod, method), "it was asked for"
    else:
        raise SpecError(
            "method",
            method,
            f'a method that serves the terms "{terms}" {_described(grid, structure)}',
            "use " + ", ".join(f'"{each}"' for each in ("auto", *fitting)) + ' or "reference"',
        )
    runs = chosen == "fused" or (chosen == "separable" and kernel == "triton")
    return Plan(chosen, why, kernel if runs else None)


def plan_for_operands(
    terms: Term, operands: Operands, grid: Grid, support: Support, method: Method = "auto"
) -> Plan:
    """The plan for operands where they are.

    Raises:
        SpecError: if the forced method does not serve these terms, grid and structure.
    """
    return plan(
        terms,
        grid,
        support.structure,
        method,
        device=operands.value.device.type,
        widths=operands.widths,
        double=operands.value.dtype == torch.float64,
    )


def is_gpu(device: str) -> bool:
    """Whether a type of device is one whose kernels want what those of a CPU do not."""
    return device not in ("cpu", "meta")


def _fitting(terms: Term, grid: Grid, structure: Structure) -> dict[ConcreteMethod, str]:
    """The methods that use what is special here, best first, and fused, which needs nothing."""
    serves: dict[ConcreteMethod, str] = {}
    if not structure.has_attn_mask:
        if not terms.use_query and not terms.use_position and structure.window is None:
            serves["pooled"] = "the weights do not depend on the query, so all queries share them"
        if grid.ndim == 2 and not terms.use_query:
            serves["separable"] = "the logits are sums over rows and columns, taken one by one"
        if grid.ndim == 2 and terms.has(Term.QUERY_POSITION) and not terms.has(Term.QUERY_KEY):
            serves["factored"] = "the weights of a query are a product over rows, columns and keys"
    serves["fused"] = "weights are made for a block of queries at a time, and never held together"
    return serves


def _automatic(
    fitting: dict[ConcreteMethod, str], kernel: Kernel, *, small: bool, on_gpu: bool
) -> tuple[ConcreteMethod, str]:
    """`on_gpu` tells that our blocks are all that a GPU has for them."""
    best = next(iter(fitting))
    if best in ("pooled", "separable"):
        return best, fitting[best]
    if best == "fused" and kernel == "sdpa":
        return best, "content terms alone are one dot product of biased queries and keys"
    if small:
        return "reference", "the pairs of queries and keys are few enough for the formula"
    if kernel == "triton":
        return "fused", "a GPU takes tiles of queries by rows of keys, which share their positions"
    if kernel == "augmented":
        return "fused", "positions become channels of queries and keys, for the kernel of a GPU"
    if on_gpu:
        return best, f"{fitting[best]}, which is slow on a GPU; no kernel of one serves this"
    return best, fitting[best]


def _kernel(
    terms: Term, grid: Grid, structure: Structure, widths: tuple[int, int], device: str
) -> Kernel:
    if widths[0] == widths[1] and _suits_sdpa(terms, grid, structure):
        return "sdpa"
    if not is_gpu(device) or grid.ndim != 2 or structure.has_attn_mask:
        return "blockwise"
    tiled = (
        terms.use_position and max(widths) <= triton_operator.MAX_HEAD_WIDTH and not _is_vast(grid)
    )
    if tiled and device == "cuda" and triton_operator.is_available():
        return "triton"
    return "blockwise" if structure.depends_on_query else "augmented"


def _suits_sdpa(terms: Term, grid: Grid, structure: Structure) -> bool:
    """Whether torch's own kernel runs without a mask for every pair, to which it would fall back.

    A mask of the user's own is such a mask: small ones are left to it.
    """
    if not terms.has(Term.QUERY_KEY) or terms.use_position:
        return False
    return not structure.depends_on_query or is_plain_causal(grid, structure) or is_small(grid)


def is_plain_causal(grid: Grid, structure: Structure) -> bool:
    """Whether causality is all, and query number i sees the first i + 1 keys."""
    if structure != Structure(causal=True):  # asked first: lengths that may vary are not compared
        return False
    return grid.queries == grid.keys and grid.key_stride == 1 and grid.first_query == 0


def is_small(grid: Grid, most: int | None = None) -> bool:
    """Whether a number for every pair is no burden; a length that may vary may be long.

    `most` pairs are small, by default as many as on a CPU.
    """
    queries, keys = math.prod(grid.queries), math.prod(grid.keys)
    if is_symbolic(queries, keys):
        return False
    return queries == 1 or queries * keys <= (SMALL[grid.ndim] if most is None else most)


def _is_vast(grid: Grid) -> bool:
    """Whether a table of one head has more numbers than 32 bits can count, as kernels do."""
    queries, along = math.prod(grid.queries), max(grid.keys)
    return not is_symbolic(queries, along) and queries * along >= 2**31


def _described(grid: Grid, structure: Structure) -> str:
    asked = [
        "on a map" if grid.ndim == 2 else "on a sequence",
        "with a window" if structure.window is not None else "",
        "with an attend mask" if structure.has_attn_mask else "",
    ]
    return " ".join(part for part in asked if part)
