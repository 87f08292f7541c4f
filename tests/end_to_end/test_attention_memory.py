"""Only the reference holds a number for every query-key pair."""

import math
from contextlib import contextmanager

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from laws import METHOD_TERMS, Case, applicable_methods, convert_operands, operands
from quatrain.ops.attention import attend
from quatrain.ops.attention.blockwise.loop import BlockLoop
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


class LargestTensor(TorchDispatchMode):
    """Records the bytes of the largest tensor."""

    def __init__(self):
        super().__init__()
        self.bytes = 0

    def __torch_dispatch__(self, operator, types, arguments=(), named=None):
        output = operator(*arguments, **(named or {}))
        sizes = [x.untyped_storage().nbytes() for x in tree_leaves(output) if torch.is_tensor(x)]
        self.bytes = max([self.bytes, *sizes])
        return output


@contextmanager
def largest_tensor(monkeypatch):
    """Record also inside of the blockwise operator, which runs without dispatch modes."""
    mode = LargestTensor()

    def within(function):
        def call(*arguments, **options):
            with mode:
                return function(*arguments, **options)

        return call

    with monkeypatch.context() as patch, mode:
        patch.setattr(BlockLoop, "forward", within(BlockLoop.forward))
        patch.setattr(BlockLoop, "backward", within(BlockLoop.backward))
        yield mode


def case_of(terms, grid, support):
    """A case in float32, whose values are as wide as its keys."""
    x = operands(terms, grid, batch=1, heads=HEADS, widths=(4, 4))
    x = convert_operands(x, lambda x: x.detach().float().requires_grad_())
    return Case(terms, x, grid, support)


def share(case, method, monkeypatch):
    """The largest tensor of forward and backward, in numbers per head and pair."""
    with largest_tensor(monkeypatch) as mode:
        output = attend(case, method)
        torch.autograd.grad(output.square().sum(), case.leaves, allow_unused=True)
    pairs = math.prod(case.grid.queries) * math.prod(case.grid.keys)
    return mode.bytes / (4 * HEADS * pairs)


def assert_few_numbers_per_pair(terms, grid, support, monkeypatch):
    case = case_of(terms, grid, support)
    for method in applicable_methods(terms, grid, support.structure):
        assert share(case, method, monkeypatch) <= 1 / 20, method


@pytest.mark.parametrize("terms", METHOD_TERMS, ids=str)
@pytest.mark.parametrize("call", ["a map", "a causal sequence"])
def test_forward_and_backward_store_at_most_a_twentieth_of_all_pairs(terms, call, monkeypatch):
    assert_few_numbers_per_pair(terms, *CALLS[call], monkeypatch)


@pytest.mark.slow
@pytest.mark.parametrize("terms", ALL_TERM_SETS, ids=str)
@pytest.mark.parametrize(("grid", "support"), CALLS.values(), ids=CALLS.keys())
def test_every_term_set_stores_at_most_a_twentieth_of_all_pairs(terms, grid, support, monkeypatch):
    assert_few_numbers_per_pair(terms, grid, support, monkeypatch)


@pytest.mark.slow
@pytest.mark.parametrize("terms", ["0010", "0011", "0110", "1000", "1111"])
@pytest.mark.parametrize(("grid", "support"), list(CALLS.values())[:4], ids=list(CALLS)[:4])
def test_memory_grows_more_slowly_than_the_pairs(terms, grid, support, monkeypatch):
    terms = Term.parse(terms)
    larger = Grid(*(tuple(2 * size for size in sizes) for sizes in (grid.queries, grid.keys)))
    for method in applicable_methods(terms, grid, support.structure):
        before, after = (
            share(case_of(terms, each, support), method, monkeypatch) for each in (grid, larger)
        )
        assert after <= 0.6 * before, method


def test_the_reference_stores_all_pairs(monkeypatch):
    grid, terms = Grid((300,), (300,)), Term.parse("1111")
    assert share(case_of(terms, grid, Support()), "reference", monkeypatch) >= 1


@pytest.mark.parametrize(
    ("terms", "method", "expected"),
    [("1111", "fused", 1 / 10), ("0110", "factored", 5 / 100)],  # a row of queries; 5 channels
)
def test_tensors_inside_of_the_blockwise_operator_are_recorded(
    terms, method, expected, monkeypatch
):
    grid, terms = Grid((10, 10), (10, 10)), Term.parse(terms)
    largest = share(case_of(terms, grid, Support()), method, monkeypatch)
    assert largest == pytest.approx(expected)
