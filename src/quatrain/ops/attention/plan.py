"""Which method computes an attention: a pure function of terms, shapes, masks and device.

    method      term sets                                       why it is exact
    pooled      0000, 0010; no window                           all queries have the same weights
    separable   maps: 0000, 0010, 0001, 0011                    the softmax of rows, then of columns
    factored    maps: 0100, 0101, 0110, 0111                    weights are a product per query
    fused       all                                             the softmax, a block at a time
    reference   all                                             it is the formula

An attend mask, which may differ for any pair, leaves fused and reference, and so does a table of E4
for rows and columns jointly. Every method agrees with
the reference in value and gradient; the tests check it. Only the reference stores a number for
every query-key pair. Queries of a beam share one coordinate, of which blocks have one query each:
where fused is a loop over blocks, they are left to the formula.

A null key fits every method. Our Triton kernels have none. For torch's kernel all keys and values
are copied to append it, so one query, as in a step of decoding, is left to the formula.

Source: Zhu et al. 2019, https://arxiv.org/abs/1904.05873, equation 2, for the terms; the choice of
method is our own.
"""

import math
from dataclasses import dataclass
from typing import Literal, cast

from quatrain.ops.attention.triton import operator as triton_operator
from quatrain.ops.positions import Grid, is_symbolic
from quatrain.ops.support import FULL_SUPPORT, Structure
from quatrain.specs import SpecError, Term

ConcreteMethod = Literal["reference", "pooled", "separable", "factored", "fused"]
Method = Literal["auto", "reference", "pooled", "separable", "factored", "fused"]

Kernel = Literal["sdpa", "triton", "augmented", "blockwise"]
"""torch's kernel, for content alone; our Triton kernel for a GPU, which computes separable too;
torch's kernel with positions as channels; or our loop over blocks of queries."""

SMALL = {1: 2**16, 2: 2**18}
"""Query-key pairs up to which auto takes the reference, by number of axes: 256 tokens, or a map of
22 x 22. All heads are one matrix product then; blocks on a map are only as long as a row.
Measured on one core, 8 heads of 32: at 256 tokens blocks take 0.8 to 1.3 times as long; at 16 x 16
0.9 to 3.9, at 24 x 24 0.4 to 1.7, at 32 x 32 0.3 to 1.0, most with gradients and a batch of one."""

SMALL_ON_GPU = 2**20
"""The same for a map on a GPU where only blocks apply, as in float64: 1,024 queries and as many
keys. A training step of a network in which blocks computed windows of 7 on 23 x 30 took 20
times as long as with any other attention: a GPU waits for the launch of each block."""


@dataclass(frozen=True)
class Plan:
    """The method, the kernel that runs it if it has several, and the reason in a sentence."""

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
    portable: bool = False,
    plain: bool = True,
    joint_table: bool = False,
    beam: bool = False,
) -> Plan:
    """Choose the method, or check the one that the caller forces.

    `widths` are those of a key and of a value of a head; `double` means float64, which GPU kernels
    do not take; `portable` excludes our custom operators and kernels, which ONNX does not have;
    operands that are not `plain` (E1 with keys of its own, E4 by a table) exclude our Triton
    kernels. With a `joint_table` E4 is no sum over axes. The queries of a `beam` share the one
    coordinate of the grid.

    Raises:
        SpecError: if the forced method does not apply to these terms, grid and structure.
        InputError: if a map is causal, or a window is even.
    """
    structure.check(grid)
    device = "cpu" if portable else device
    joint = joint_table and terms.has(Term.POSITION)
    reasons = _applicable_methods(terms, grid, structure, joint=joint)
    kernel: Kernel = "blockwise"
    if not (double and is_gpu(device)):
        kernel = _kernel(terms, grid, structure, widths, device, plain=plain, joint=joint)
    if portable:
        reasons = _portable(reasons, kernel, method)
    if beam and kernel == "blockwise":
        reasons.pop("fused", None)
    if method == "auto":
        blockwise_on_gpu = is_gpu(device) and kernel == "blockwise"
        small = is_small(grid, SMALL_ON_GPU if blockwise_on_gpu and grid.ndim == 2 else None)
        chosen, reason = _automatic(
            reasons,
            kernel,
            small=small,
            copies_for_one=structure.null_key and is_small(grid, limit=0),
            blockwise_on_gpu=blockwise_on_gpu,
            beam=beam,
        )
    elif method == "reference" or method in reasons:
        chosen, reason = cast(ConcreteMethod, method), "it was requested"
    else:
        raise _inapplicable(method, terms, grid, structure, reasons, joint=joint, beam=beam)
    uses_kernel = chosen == "fused" or (chosen == "separable" and kernel == "triton")
    return Plan(chosen, reason, kernel if uses_kernel else None)


def _inapplicable(
    method: Method,
    terms: Term,
    grid: Grid,
    structure: Structure,
    reasons: dict[ConcreteMethod, str],
    *,
    joint: bool,
    beam: bool,
) -> SpecError:
    """The error about a forced method that is not among `reasons`."""
    call = f'the terms "{terms}" on a {"map" if grid.ndim == 2 else "sequence"}'
    call += "" if structure.window is None else " with a window"
    call += " with an attend mask" if structure.has_attn_mask else ""
    call += " with a joint table" if joint else ""
    call += " for the queries of a beam" if beam else ""
    methods = ", ".join(f'"{name}"' for name in ("auto", *reasons))
    return SpecError(
        f'method="{method}" does not compute {call}; use {methods} or "reference"', "method"
    )


def is_gpu(device: str) -> bool:
    """Whether a device type is a GPU's."""
    return device not in ("cpu", "meta")


def _applicable_methods(
    terms: Term, grid: Grid, structure: Structure, *, joint: bool
) -> dict[ConcreteMethod, str]:
    """Methods other than the reference, the fastest first, each with the reason why it applies."""
    reasons: dict[ConcreteMethod, str] = {}
    if not structure.has_attn_mask:
        if not terms.use_query and not terms.use_position and structure.window is None:
            reasons["pooled"] = "the weights do not depend on the query, so all queries share them"
        axial = grid.ndim == 2 and not joint
        if axial and not terms.use_query:
            reasons["separable"] = "the logits are a sum over rows and columns, one axis at a time"
        if axial and terms.has(Term.QUERY_POSITION) and not terms.has(Term.QUERY_KEY):
            reasons["factored"] = "the weights of a query are a product over rows, columns and keys"
    reasons["fused"] = "only the weights of one block of queries are stored at a time"
    return reasons


def _portable(
    reasons: dict[ConcreteMethod, str], kernel: Kernel, method: Method
) -> dict[ConcreteMethod, str]:
    """The methods that operators of torch alone compute, on a CPU."""
    operators = ("factored",) if kernel == "sdpa" else ("factored", "fused")
    if method in operators and method in reasons:
        text = f'method="{method}" is a custom operator here, which ONNX does not have'
        raise SpecError(f'{text}; leave it at "auto", or use "reference"', "method")
    return {name: reason for name, reason in reasons.items() if name not in operators}


def _automatic(
    reasons: dict[ConcreteMethod, str],
    kernel: Kernel,
    *,
    small: bool,
    copies_for_one: bool,
    blockwise_on_gpu: bool,
    beam: bool,
) -> tuple[ConcreteMethod, str]:
    if not reasons and beam:
        return "reference", "the queries of a beam share one coordinate, and blocks have one each"
    if not reasons:
        return "reference", "the formula needs no custom operator"
    best = next(iter(reasons))
    if best in ("pooled", "separable"):
        return best, reasons[best]
    if best == "fused" and kernel == "sdpa" and not copies_for_one:
        return best, "content terms alone are one dot product of biased queries and keys"
    if small:
        return "reference", "there are few enough query-key pairs for the formula"
    if kernel == "triton":
        return "fused", "a Triton kernel adds the position bias tile by tile"
    if kernel == "augmented":
        return "fused", "positions become channels of queries and keys for torch's GPU kernel"
    if blockwise_on_gpu:
        return best, f"{reasons[best]}; this is slow on a GPU, but no GPU kernel takes this call"
    return best, reasons[best]


def _kernel(
    terms: Term,
    grid: Grid,
    structure: Structure,
    widths: tuple[int, int],
    device: str,
    *,
    plain: bool,
    joint: bool,
) -> Kernel:
    if widths[0] == widths[1] and _suits_sdpa(terms, grid, structure):
        return "sdpa"
    if not is_gpu(device) or grid.ndim != 2 or structure.has_attn_mask or joint:
        return "blockwise"
    fits = max(widths) <= triton_operator.MAX_HEAD_WIDTH and not _exceeds_32_bits(grid)
    fits = fits and plain and not structure.null_key
    if terms.use_position and fits and device == "cuda" and triton_operator.is_available():
        return "triton"
    return "blockwise" if structure.depends_on_query else "augmented"


def _suits_sdpa(terms: Term, grid: Grid, structure: Structure) -> bool:
    """Whether torch's kernel needs no mask with a number per pair, or only a small one."""
    if not terms.has(Term.QUERY_KEY) or terms.use_position:
        return False
    return not structure.depends_on_query or is_plain_causal(grid, structure) or is_small(grid)


def is_plain_causal(grid: Grid, structure: Structure) -> bool:
    """Whether causality is the only restriction, and query number i sees the first i + 1 keys."""
    masked = structure.has_key_padding or structure.has_attn_mask
    if not structure.causal or structure.window is not None or masked:
        return False  # first, so that symbolic sizes are not compared
    return grid.queries == grid.keys and grid.key_stride == 1 and grid.first_query == 0


def is_small(grid: Grid, limit: int | None = None) -> bool:
    """Whether there are at most `limit` query-key pairs (`SMALL` by default), or one query.

    Symbolic sizes are never small.
    """
    queries, keys = math.prod(grid.queries), math.prod(grid.keys)
    if is_symbolic(queries, keys):
        return False
    return queries == 1 or queries * keys <= (SMALL[grid.ndim] if limit is None else limit)


def _exceeds_32_bits(grid: Grid) -> bool:
    """Whether the position bias of one head has too many numbers for 32-bit indices."""
    queries, keys = math.prod(grid.queries), max(grid.keys)
    return not is_symbolic(queries, keys) and queries * keys >= 2**31
