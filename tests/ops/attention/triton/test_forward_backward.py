"""From operands to outputs by kernels that are interpreted: what is made, and what is announced."""

import os
from dataclasses import replace

import pytest
import torch
from torch.testing import assert_close

from laws import operands
from quatrain.ops.attention.triton import forward_backward as tiled
from quatrain.ops.attention.triton.position_bias import Call
from quatrain.ops.positions import Grid
from quatrain.specs import ALL_TERM_SETS

pytest.importorskip("triton", reason="Triton is not installed")
pytestmark = [
    pytest.mark.skipif("TRITON_INTERPRET" not in os.environ, reason="nothing interprets kernels"),
]
SERVED = [terms for terms in ALL_TERM_SETS if terms.use_position]
GRID = Grid((3, 5), (2, 3), 2)


def call(terms, lines=False):
    made = operands(terms, GRID, widths=(3, 4))
    named = {n: x.detach() for n, x in vars(made).items() if isinstance(x, torch.Tensor)}
    bare = type(made)(**named, relative=tuple(a.detach() for a in made.relative), scale=made.scale)
    return Call(terms, bare, GRID, lines=lines)


@pytest.mark.parametrize("terms", SERVED, ids=str)
@pytest.mark.parametrize("padded", [True, False])
def test_what_is_made_has_the_shapes_and_types_that_are_announced(terms, padded):
    padding = torch.zeros(2, 6, dtype=torch.bool) if padded else None
    for lines in {False, not terms.use_query}:
        asked = call(terms, lines)
        made, announced = tiled.attend(asked, padding), tiled.like(asked, padded=padded)
        for name, x in vars(made).items():
            other = getattr(announced, name)
            assert (x is None) == (other is None), name
            if x is not None:
                assert (x.shape, x.dtype) == (other.shape, other.dtype), name
                assert x.is_contiguous(), name


@pytest.mark.parametrize("terms", [t for t in SERVED if not t.use_query], ids=str)
def test_by_lines_outputs_and_totals_are_those_of_all_pairs(terms):
    both = [tiled.attend(call(terms, lines), None) for lines in (False, True)]
    assert_close(*(made.mixed for made in both))
    assert_close(*(made.totals for made in both))


@pytest.mark.parametrize("terms", SERVED, ids=str)
def test_gradients_have_the_types_of_their_operands(terms):
    asked = call(terms)
    lower = replace(asked, operands=replace(asked.operands, value=asked.operands.value.float()))
    made = tiled.attend(lower, None)
    found = tiled.gradients_of(lower, made, torch.ones_like(made.mixed))
    for name in ("value", "query", "key", "key_bias", "position_bias"):
        x, gradient = getattr(lower.operands, name), getattr(found, name)
        assert (x is None) == (gradient is None), name
        if x is not None:
            assert (x.shape, x.dtype) == (gradient.shape, gradient.dtype), name
    assert [x.dtype for x in found.relative] == [torch.float64] * 2
