import os
from functools import partial

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from laws import AXIAL, PLAIN, Case, assert_same_attention, cases, operands
from quatrain.ops.attention import separable
from quatrain.ops.attention.reference import reference_attention
from quatrain.ops.attention.separable import separable_attention
from quatrain.ops.attention.triton.operator import triton_attention
from quatrain.ops.positions import Grid
from quatrain.ops.support import Support
from quatrain.specs import Term

axial_attention = partial(triton_attention, axial=True)
APPLICABLE = [Term.parse(digits) for digits in ("0000", "0010", "0001", "0011")]


@settings(max_examples=50, deadline=None)
@given(
    cases(st.sampled_from(APPLICABLE), longest=5, ndims=(2,), leave_out=("attend_mask",), **AXIAL)
)
def test_it_agrees_with_the_reference(case):
    assert_same_attention(separable_attention, reference_attention, case)


@pytest.mark.parametrize("terms", APPLICABLE, ids=str)
@pytest.mark.parametrize("heads", [1, 2, 3])
def test_it_agrees_for_any_number_of_heads_at_once(terms, heads, monkeypatch):
    grid = Grid((5, 6), (3, 4), key_stride=2)
    x = operands(terms, grid, heads=3)
    monkeypatch.setattr(separable, "MAX_WEIGHTS", heads * x.value.shape[0] * 6 * 3 * (4 + 5))
    assert separable._heads_in_turn(grid, x.value) == heads
    case = Case(terms, x, grid, Support())
    assert_same_attention(separable_attention, reference_attention, case)


@pytest.mark.parametrize("terms", APPLICABLE, ids=str)
@pytest.mark.parametrize("null_key", [False, True])
def test_it_agrees_on_widely_spread_logits(terms, null_key):
    grid = Grid((5, 6), (3, 4))
    case = Case(terms, operands(terms, grid, spread=200.0), grid, Support(null_key=null_key))
    assert_same_attention(separable_attention, reference_attention, case)


@pytest.mark.skipif("TRITON_INTERPRET" not in os.environ, reason="nothing interprets kernels")
class TestTriton:
    """The Triton kernels of a GPU, interpreted."""

    @settings(max_examples=3, deadline=None)
    @given(
        cases(
            st.sampled_from(APPLICABLE[2:]),
            longest=5,
            ndims=(2,),
            leave_out=("attend_mask", "null_key"),
            **PLAIN,
        )
    )
    def test_it_agrees_with_the_reference(self, case):
        assert_same_attention(axial_attention, reference_attention, case)

    @pytest.mark.slow
    @pytest.mark.parametrize("terms", APPLICABLE[2:], ids=str)
    def test_it_agrees_over_several_tiles_of_widely_spread_logits(self, terms):
        grid = Grid((5, 9), (3, 35))
        case = Case(terms, operands(terms, grid, spread=40.0, widths=(5, 18)), grid, Support())
        assert_same_attention(axial_attention, reference_attention, case)

    def test_rows_of_keys_that_are_all_padding_have_no_weight(self):
        terms, grid = Term.parse("0011"), Grid((2, 3), (3, 4))
        padding = torch.arange(12) >= torch.tensor([[5], [12]])
        case = Case(terms, operands(terms, grid), grid, Support(key_padding_mask=padding))
        assert_same_attention(axial_attention, reference_attention, case)
