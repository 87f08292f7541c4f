"""Attention beyond the sizes that are left to the formula, compiled and exported."""

import math

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from quatrain.nn import AttentionSpec
from quatrain.ops.attention import plan
from quatrain.ops.attention.plan import SMALL
from quatrain.ops.positions import Grid
from quatrain.specs import Term

pytestmark = pytest.mark.compile
METHODS = {"0010": "pooled", "0011": "separable", "0110": "factored", "1111": "fused"}
every_method = pytest.mark.parametrize("terms", METHODS)


class Called(nn.Module):
    """An attention with its call's choices made."""

    def __init__(self, terms, ndim, causal=False, **asked):
        super().__init__()
        torch.manual_seed(0)
        self.attention = AttentionSpec(terms=terms, heads=2, **asked).build(8, ndim).double()
        self.causal = causal

    def forward(self, x):
        return self.attention(x, causal=self.causal)


def content(*sizes):
    shape = (2, *sizes, 8) if len(sizes) == 1 else (2, 8, *sizes)
    return torch.randn(shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def assert_same(first, second, x):
    """Values and gradients agree, those of each parameter among them."""
    outcomes = []
    for how in (first, second):
        leaf = x.clone().requires_grad_()
        output = how(leaf)
        leaves = {"x": leaf, **dict(second.named_parameters())}
        if isinstance(how, nn.Module):
            leaves |= dict(how.named_parameters())
        gradients = torch.autograd.grad(output.square().sum(), list(leaves.values()))
        outcomes.append((output, dict(zip(leaves, gradients, strict=True))))
    assert_close(*outcomes)


@every_method
def test_on_a_large_map_it_compiles_into_one_graph(terms):
    torch.compiler.reset()
    module, grid = Called(terms, 2), Grid((24, 24), (24, 24))
    assert plan(Term.parse(terms), grid).method == METHODS[terms]
    assert math.prod(grid.queries) ** 2 > SMALL[2]
    compiled = torch.compile(module.forward, fullgraph=True, backend="aot_eager")
    assert_same(compiled, module, content(24, 24))


@every_method
def test_compiled_for_sizes_that_vary_it_serves_another_map(terms):
    torch.compiler.reset()
    module = Called(terms, 2)
    compiled = torch.compile(module.forward, fullgraph=True, backend="aot_eager", dynamic=True)
    for sizes in ((24, 24), (26, 30), (3, 4)):
        assert_same(compiled, module, content(*sizes))


@pytest.mark.parametrize("terms", ["1000", "1010", *METHODS])
def test_cross_attention_is_exported_for_queries_and_keys_of_different_lengths(terms):
    attention = Called(terms, 1).attention
    length = {1: torch.export.Dim.DYNAMIC}
    example = content(300), content(300)
    exported = torch.export.export(attention, example, dynamic_shapes=(length, length)).module()
    for queries, keys in ((300, 300), (7, 320), (310, 5)):
        given = content(queries), content(keys)
        assert_close(exported(*given), attention(*given))


@every_method
def test_on_maps_it_is_exported_for_other_heights_and_widths(terms):
    module, sizes = Called(terms, 2), {2: torch.export.Dim.DYNAMIC, 3: torch.export.Dim.DYNAMIC}
    exported = torch.export.export(module, (content(20, 26),), dynamic_shapes=(sizes,)).module()
    for size in ((20, 26), (24, 17), (3, 4)):
        assert_same(exported, module, content(*size))


@every_method
@pytest.mark.parametrize("causal", [False, True])
def test_on_sequences_it_is_exported_for_other_lengths(terms, causal):
    module, sizes = Called(terms, 1, causal), {1: torch.export.Dim.DYNAMIC}
    exported = torch.export.export(module, (content(300),), dynamic_shapes=(sizes,)).module()
    for length in (300, 320, 7):
        assert_same(exported, module, content(length))


@pytest.mark.parametrize("terms", ["1000", *METHODS])
@pytest.mark.parametrize("stride", [2, 3])
def test_keys_of_a_stride_are_exported_for_lengths_that_it_does_not_divide(terms, stride):
    module, sizes = Called(terms, 1, key_stride=stride), {1: torch.export.Dim.DYNAMIC}
    exported = torch.export.export(module, (content(300),), dynamic_shapes=(sizes,)).module()
    for length in (300, 301, 302, 7):
        assert_close(exported(content(length)), module(content(length)))
