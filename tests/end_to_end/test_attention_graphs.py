"""Attention of sizes beyond those of the reference method, compiled and exported."""

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


class Attention(nn.Module):
    """An attention with a fixed `causal` argument."""

    def __init__(self, terms, ndim, causal=False, **options):
        super().__init__()
        torch.manual_seed(0)
        self.attention = AttentionSpec(terms=terms, heads=2, **options).build(8, ndim).double()
        self.causal = causal

    def forward(self, x):
        return self.attention(x, causal=self.causal)


def content(*sizes):
    shape = (2, *sizes, 8) if len(sizes) == 1 else (2, 8, *sizes)
    return torch.randn(shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def assert_same(first, second, x):
    """Outputs and gradients agree, also those of each parameter."""
    results = []
    for f in (first, second):
        leaf = x.clone().requires_grad_()
        output = f(leaf)
        leaves = {"x": leaf, **dict(second.named_parameters())}
        if isinstance(f, nn.Module):
            leaves |= dict(f.named_parameters())
        gradients = torch.autograd.grad(output.square().sum(), list(leaves.values()))
        results.append((output, dict(zip(leaves, gradients, strict=True))))
    assert_close(*results)


@every_method
def test_on_a_large_map_it_compiles_into_one_graph(terms):
    torch.compiler.reset()
    module, grid = Attention(terms, 2), Grid((24, 24), (24, 24))
    assert plan(Term.parse(terms), grid).method == METHODS[terms]
    assert math.prod(grid.queries) ** 2 > SMALL[2]
    compiled = torch.compile(module.forward, fullgraph=True, backend="aot_eager")
    assert_same(compiled, module, content(24, 24))


@pytest.mark.slow
@every_method
def test_a_graph_with_dynamic_sizes_takes_other_maps(terms):
    torch.compiler.reset()
    module = Attention(terms, 2)
    compiled = torch.compile(module.forward, fullgraph=True, backend="aot_eager", dynamic=True)
    for sizes in ((24, 26), (26, 30), (3, 4)):  # a square map would need a graph of its own
        assert_same(compiled, module, content(*sizes))


@pytest.mark.slow
@pytest.mark.parametrize("terms", ["1000", "1010", *METHODS])
def test_cross_attention_is_exported_for_queries_and_keys_of_different_lengths(terms):
    attention = Attention(terms, 1).attention
    length = {1: torch.export.Dim.DYNAMIC}
    example = content(300), content(300)
    exported = torch.export.export(attention, example, dynamic_shapes=(length, length)).module()
    for queries, keys in ((300, 300), (7, 320), (310, 5)):
        inputs = content(queries), content(keys)
        assert_close(exported(*inputs), attention(*inputs))


@pytest.mark.slow
@every_method
def test_on_maps_it_is_exported_for_other_heights_and_widths(terms):
    module, sizes = Attention(terms, 2), {2: torch.export.Dim.DYNAMIC, 3: torch.export.Dim.DYNAMIC}
    exported = torch.export.export(module, (content(20, 26),), dynamic_shapes=(sizes,)).module()
    for size in ((20, 26), (24, 17), (3, 4)):
        assert_same(exported, module, content(*size))


@pytest.mark.slow
@every_method
@pytest.mark.parametrize("causal", [False, True])
def test_on_sequences_it_is_exported_for_other_lengths(terms, causal):
    module, sizes = Attention(terms, 1, causal), {1: torch.export.Dim.DYNAMIC}
    exported = torch.export.export(module, (content(300),), dynamic_shapes=(sizes,)).module()
    for length in (300, 320, 7):
        assert_same(exported, module, content(length))


@pytest.mark.slow
@pytest.mark.parametrize("terms", ["1000", *METHODS])
@pytest.mark.parametrize("stride", [2, 3])
def test_strided_keys_are_exported_for_lengths_that_the_stride_does_not_divide(terms, stride):
    module, sizes = Attention(terms, 1, key_stride=stride), {1: torch.export.Dim.DYNAMIC}
    exported = torch.export.export(module, (content(300),), dynamic_shapes=(sizes,)).module()
    for length in (300, 301, 302, 7):
        assert_close(exported(content(length)), module(content(length)))
