import os
from functools import partial

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from laws import Case, assert_same_attention, cases, operands
from quatrain.ops.attention import reference, separable
from quatrain.ops.attention.triton import operator as tiles
from quatrain.ops.positions import Grid
from quatrain.ops.support import Support
from quatrain.specs import Term

by_lines = partial(tiles.attend, by_lines=True)
SERVED = [Term.parse(digits) for digits in ("0000", "0010", "0001", "0011")]


@settings(max_examples=80, deadline=None)
@given(cases(st.sampled_from(SERVED), longest=5, ndims=(2,), leave_out=("attend_mask",)))
def test_it_agrees_with_the_reference_in_value_and_gradient(case):
    terms, asked = case
    assert_same_attention(separable.attend, reference.attend, terms, asked)


@pytest.mark.parametrize("terms", SERVED, ids=str)
@pytest.mark.parametrize("heads", [1, 2, 3])
def test_it_agrees_however_many_heads_a_cache_holds(terms, heads, monkeypatch):
    grid = Grid((5, 6), (3, 4), key_stride=2)
    made = operands(terms, grid, heads=3)
    monkeypatch.setattr(separable, "CELLS", heads * made.value.shape[0] * 6 * 3 * (4 + 5))
    assert separable._heads_in_turn(grid, made.value) == heads
    case = Case(made, grid, Support())
    assert_same_attention(separable.attend, reference.attend, terms, case)


@pytest.mark.parametrize("terms", SERVED, ids=str)
def test_it_agrees_on_logits_far_apart(terms):
    grid = Grid((5, 6), (3, 4))
    case = Case(operands(terms, grid, spread=200.0), grid, Support())
    assert_same_attention(separable.attend, reference.attend, terms, case)


@pytest.mark.skipif("TRITON_INTERPRET" not in os.environ, reason="nothing interprets kernels")
class TestByTiles:
    """What a GPU does, interpreted."""

    @settings(max_examples=15, deadline=None)
    @given(cases(st.sampled_from(SERVED[2:]), longest=5, ndims=(2,), leave_out=("attend_mask",)))
    def test_it_agrees_with_the_reference_in_value_and_gradient(self, case):
        terms, asked = case
        assert_same_attention(by_lines, reference.attend, terms, asked)

    @pytest.mark.parametrize("terms", SERVED[2:], ids=str)
    def test_it_agrees_where_a_map_takes_several_tiles_and_logits_are_far_apart(self, terms):
        grid = Grid((5, 9), (3, 35))
        case = Case(operands(terms, grid, spread=40.0, widths=(5, 18)), grid, Support())
        assert_same_attention(by_lines, reference.attend, terms, case)

    @pytest.mark.parametrize("terms", SERVED[2:], ids=str)
    def test_rows_of_keys_that_are_all_padding_weigh_nothing(self, terms):
        grid = Grid((4, 5), (4, 5))
        padding = torch.arange(20) >= torch.tensor([[7], [20]])
        case = Case(operands(terms, grid), grid, Support(key_padding_mask=padding))
        assert_same_attention(by_lines, reference.attend, terms, case)
