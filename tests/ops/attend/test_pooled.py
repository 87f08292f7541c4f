import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from laws import Case, assert_same_attention, cases, operands
from quatrain.ops.attend import pooled, reference
from quatrain.ops.positions import Grid
from quatrain.ops.support import Support
from quatrain.specs import Term

SERVED = [Term.parse("0000"), Term.parse("0010")]


@settings(max_examples=60, deadline=None)
@given(cases(st.sampled_from(SERVED), longest=7))
def test_it_agrees_with_the_reference_in_value_and_gradient(case):
    terms, asked = case
    assume(asked.support.window is None and asked.support.attend_mask is None)
    assert_same_attention(pooled.attend, reference.attend, terms, asked)


@pytest.mark.parametrize("terms", SERVED, ids=str)
@pytest.mark.parametrize("length", [31, 33, 100, 1100])
def test_a_running_softmax_agrees_over_several_blocks(terms, length):
    grid = Grid((length,), (length,))
    padding = torch.arange(length).expand(2, -1) % 40 < 3
    case = Case(operands(terms, grid, spread=40.0), grid, Support(True, None, padding))
    assert_same_attention(pooled.attend, reference.attend, terms, case)
