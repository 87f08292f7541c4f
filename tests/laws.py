"""Random attention cases, and comparisons of attention methods, for several test folders."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace

import jaxtyping
import torch
from hypothesis import strategies as st
from torch.testing import assert_close

from quatrain.ops.attention import plan
from quatrain.ops.attention.reference import masked_softmax
from quatrain.ops.positions import Grid, expand_queries
from quatrain.ops.support import Support
from quatrain.ops.terms import AttentionInputs, Operands, logits
from quatrain.specs import ALL_TERM_SETS, SpecError, Term

term_sets = st.sampled_from(ALL_TERM_SETS)
METHOD_TERMS = [Term.parse(digits) for digits in ("0010", "0011", "0110", "1000", "1111")]
"""One term set per method: pooled, separable, factored, fused by SDPA, fused with positions."""
windows = st.none() | st.sampled_from([1, 3, 5, 31])
AXIAL = {"tables": (None, "axial")}
"""Arguments of `cases` whose position logits are a sum over axes."""
PLAIN = {"shared_keys": (True,), "tables": (None,)}
"""Arguments of `cases` whose operands the Triton kernels take."""


@contextmanager
def unchecked() -> Iterator[None]:
    """Disable the run-time checks of types and shapes, where the tests run with them.

    Wrong arguments then reach the library's own errors. Strategies need it too, since the checker
    inspects random items, which hypothesis forbids inside of a strategy.
    """
    before = jaxtyping.config.jaxtyping_disable
    jaxtyping.config.update("jaxtyping_disable", True)
    try:
        yield
    finally:
        jaxtyping.config.update("jaxtyping_disable", before)


class Case(AttentionInputs):
    """The inputs of an attention; every tensor with a gradient is a leaf."""

    @property
    def leaves(self):
        x = self.operands
        single = (x.value, x.query, x.key, x.content_vector, x.position_vector)
        single += (x.paired_query, x.paired_key, x.key_logit, x.joint_table)
        return [leaf for leaf in (*single, *x.relative, *x.table) if leaf is not None]


def naive_attention(inputs):
    """The formula without care for precision, in the type of the operands or of an autocast."""
    value, grid = inputs.value, inputs.grid
    scores = logits(inputs.terms, inputs.operands, grid)
    scores = scores.expand(-1, value.shape[1], -1, value.shape[2])
    support = inputs.support
    weights = masked_softmax(scores, support.mask(grid, value), null_key=support.null_key)
    return expand_queries(weights.to(value.dtype) @ value, grid)


def operands(
    terms,
    grid,
    batch=2,
    heads=2,
    seed=0,
    spread=1.0,
    widths=(3, 2),
    shared_keys=True,
    table=None,
):
    """Random float64 operands that `terms` need; `widths` are of keys and values.

    Without `shared_keys` E1 has queries and keys of its own, and E3 is one number for each key.
    An "axial" `table` gives E4 as a number for each relative position of an axis, a "joint" one as
    a number for each of both axes of a map.
    """
    width, value_width = widths
    generator = torch.Generator().manual_seed(seed)
    queries, keys = (torch.Size(sizes).numel() for sizes in (grid.queries, grid.keys))

    def leaf(*shape, scale=1.0):
        x = torch.randn(*shape, generator=generator, dtype=torch.float64) * scale
        return x.requires_grad_()

    lengths = [len(grid.relative_range(axis)) for axis in range(grid.ndim)]
    e1, e2, e3, e4 = (digit == "1" for digit in str(terms))
    joint = e4 and table == "joint" and grid.ndim == 2
    axial = e4 and table is not None and not joint
    encoded = lengths if e2 or (e4 and not axial and not joint) else ()
    paired = e1 and not shared_keys
    return Operands(
        value=leaf(batch, heads, keys, value_width),
        query=leaf(batch, heads, queries, width, scale=spread)
        if e2 or (e1 and shared_keys)
        else None,
        key=leaf(batch, heads, keys, width, scale=spread) if shared_keys and (e1 or e3) else None,
        content_vector=leaf(heads, width) if shared_keys and e3 else None,
        position_vector=leaf(heads, width) if e4 and table is None else None,
        relative=tuple(leaf(heads, length, width, scale=spread) for length in encoded),
        scale=0.7,
        paired_query=leaf(batch, heads, queries, width, scale=spread) if paired else None,
        paired_key=leaf(batch, heads, keys, width, scale=spread) if paired else None,
        key_logit=leaf(batch, heads, keys) if not shared_keys and e3 else None,
        table=tuple(leaf(heads, length, scale=spread) for length in lengths if axial),
        joint_table=leaf(heads, *lengths, scale=spread) if joint else None,
    )


def convert_operands(operands, convert):
    """The operands with `convert` applied to every tensor."""
    tensors = {name: convert(x) for name, x in vars(operands).items() if torch.is_tensor(x)}
    relative, table = (tuple(map(convert, x)) for x in (operands.relative, operands.table))
    return replace(operands, **tensors, relative=relative, table=table)


def applicable_methods(terms, grid, structure):
    """The names of all methods but the reference that apply to these arguments."""
    methods = []
    for method in ("pooled", "separable", "factored", "fused"):
        with suppress(SpecError):
            methods.append(plan(terms, grid, structure, method).method)
    return methods


@st.composite
@unchecked()
def grids(draw, longest=4, ndims=(1, 2)):
    """Sequences and maps, with keys of other sizes or strided."""
    sizes = st.integers(1, longest)
    queries = tuple(draw(sizes) for _ in range(draw(st.sampled_from(ndims))))
    if draw(st.booleans()):
        stride = draw(st.integers(1, 3))
        return Grid(queries, tuple(-(-size // stride) for size in queries), stride)
    keys = tuple(draw(sizes) for _ in queries)
    first = draw(st.integers(0, 3)) if queries == (1,) else 0
    return Grid(queries, keys, draw(st.integers(1, 2)), first)


@st.composite
@unchecked()
def supports(draw, grid, batch, heads, generator, leave_out=()):
    """Any mixture of causality, window, masks and a null key, also rows without any key."""
    queries, keys = (torch.Size(sizes).numel() for sizes in (grid.queries, grid.keys))

    def chance(*shape):
        return torch.rand(shape, generator=generator) < 0.6

    shapes = [(queries, keys), (batch, queries, keys), (batch, heads, queries, keys)]
    attend = draw(st.none() | st.sampled_from(shapes))
    fields = {
        "causal": grid.ndim == 1 and draw(st.booleans()),
        "window": draw(windows),
        "key_padding_mask": ~chance(batch, keys) if draw(st.booleans()) else None,
        "attend_mask": None if attend is None else chance(*attend),
        "null_key": draw(st.booleans()),
    }
    return Support(**{name: fields[name] for name in fields if name not in leave_out})


@st.composite
@unchecked()
def cases(
    draw,
    terms=term_sets,
    longest=4,
    widths=(3, 2),
    ndims=(1, 2),
    leave_out=(),
    shared_keys=(True, False),
    tables=(None, "axial", "joint"),
):
    """Random inputs of an attention, without the support fields to `leave_out`."""
    grid, chosen = draw(grids(longest, ndims)), draw(terms)
    batch, heads = draw(st.integers(1, 2)), draw(st.integers(1, 2))
    seed = draw(st.integers(0, 2**16))
    support = draw(supports(grid, batch, heads, torch.Generator().manual_seed(seed), leave_out))
    kind = {
        "shared_keys": draw(st.sampled_from(shared_keys)),
        "table": draw(st.sampled_from(tables)),
    }
    tensors = operands(chosen, grid, batch, heads, seed, widths=widths, **kind)
    return Case(chosen, tensors, grid, support)


@contextmanager
def deterministic(enabled: bool = True) -> Iterator[None]:
    """Within, torch uses deterministic algorithms, or need not."""
    before = torch.are_deterministic_algorithms_enabled()
    torch.use_deterministic_algorithms(enabled)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before)


def assert_same_attention(first, second, case):
    """Two methods agree in value, and in the gradient of a projection of the output."""
    outputs = [first(case), second(case)]
    assert_close(outputs[0], outputs[1], rtol=1e-10, atol=1e-10)
    weights = torch.linspace(-1, 1, outputs[0].numel(), dtype=torch.float64)
    gradients = [
        torch.autograd.grad(
            (output.flatten() * weights).sum(),
            case.leaves,
            allow_unused=True,
            materialize_grads=True,
        )
        for output in outputs
    ]
    assert_close(gradients[0], gradients[1], rtol=1e-10, atol=1e-10)
