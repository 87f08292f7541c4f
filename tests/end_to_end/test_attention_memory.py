"""No method of attention but the formula ever holds a number for every pair of positions."""

import math
from contextlib import contextmanager

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from laws import Case, fitting_methods, operands
from quatrain.ops.attention import attend
from quatrain.ops.attention.blockwise import loop as blocked
from quatrain.ops.positions import Grid
from quatrain.ops.support import Support
from quatrain.specs import ALL_TERM_SETS, Term

HEADS = 2
CALLS = {
    "a map": (Grid((40, 40), (40, 40)), Support()),
    "a window on a map": (Grid((40, 40), (40, 40)), Support(window=5)),
    "a sequence": (Grid((2000,), (2000,)), Support()),
    "a causal sequence": (Grid((2000,), (2000,)), Support(causal=True)),
    "another sequence": (Grid((2000,), (1500,)), Support()),
    "strided and padded keys": (
        Grid((70, 80), (35, 40), 2),
        Support(key_padding_mask=torch.arange(1400)[None] > 900),
    ),
}


class Largest(TorchDispatchMode):
    """Remembers the most bytes that one tensor took in memory."""

    def __init__(self):
        super().__init__()
        self.bytes = 0

    def __torch_dispatch__(self, operator, types, arguments=(), named=None):
        made = operator(*arguments, **(named or {}))
        sizes = [x.untyped_storage().nbytes() for x in tree_leaves(made) if torch.is_tensor(x)]
        self.bytes = max([self.bytes, *sizes])
        return made


@contextmanager
def watched(monkeypatch):
    """What is made within, inside of the operator by blocks too, which is called without modes."""
    watch = Largest()

    def within(function):
        def call(*arguments, **named):
            with watch:
                return function(*arguments, **named)

        return call

    with monkeypatch.context() as patch, watch:
        patch.setattr(blocked, "mix", within(blocked.mix))
        patch.setattr(blocked, "gradients", within(blocked.gradients))
        yield watch


def case_of(terms, grid, support):
    """One in float32, whose values are as wide as its keys."""
    made = operands(terms, grid, batch=1, heads=HEADS, widths=(4, 4))

    def lower(x):
        return x.detach().float().requires_grad_()

    named = {name: lower(x) for name, x in vars(made).items() if torch.is_tensor(x)}
    made = type(made)(**named, relative=tuple(map(lower, made.relative)))
    return Case(made, grid, support)


def share(terms, case, method, monkeypatch):
    """The largest tensor of forward and backward, in numbers for each head and pair."""
    with watched(monkeypatch) as watch:
        output = attend(terms, case.operands, case.grid, case.support, method)
        torch.autograd.grad(output.square().sum(), case.leaves, allow_unused=True)
    pairs = math.prod(case.grid.queries) * math.prod(case.grid.keys)
    return watch.bytes / (4 * HEADS * pairs)


@pytest.mark.parametrize("terms", ALL_TERM_SETS, ids=str)
@pytest.mark.parametrize(("grid", "support"), CALLS.values(), ids=CALLS.keys())
def test_forward_and_backward_hold_a_twentieth_of_all_pairs_at_most(
    terms, grid, support, monkeypatch
):
    case = case_of(terms, grid, support)
    for method in fitting_methods(terms, grid, support.structure):
        assert share(terms, case, method, monkeypatch) <= 1 / 20, method


@pytest.mark.slow
@pytest.mark.parametrize("terms", ["0010", "0011", "0110", "1000", "1111"])
@pytest.mark.parametrize(("grid", "support"), list(CALLS.values())[:4], ids=list(CALLS)[:4])
def test_what_is_held_grows_slower_than_the_pairs_do(terms, grid, support, monkeypatch):
    asked = Term.parse(terms)
    larger = Grid(*(tuple(2 * size for size in sizes) for sizes in (grid.queries, grid.keys)))
    for method in fitting_methods(asked, grid, support.structure):
        before, after = (
            share(asked, case_of(asked, each, support), method, monkeypatch)
            for each in (grid, larger)
        )
        assert after <= 0.6 * before, method


def test_the_formula_holds_them_all(monkeypatch):
    grid, terms = Grid((300,), (300,)), Term.parse("1111")
    assert share(terms, case_of(terms, grid, Support()), "reference", monkeypatch) >= 1


@pytest.mark.parametrize(
    ("terms", "method", "expected"),
    [("1111", "fused", 1 / 10), ("0110", "factored", 5 / 100)],  # a row of queries; 5 channels
)
def test_what_the_operator_by_blocks_makes_inside_is_seen(terms, method, expected, monkeypatch):
    grid, terms = Grid((10, 10), (10, 10)), Term.parse(terms)
    seen = share(terms, case_of(terms, grid, Support()), method, monkeypatch)
    assert seen == pytest.approx(expected)
