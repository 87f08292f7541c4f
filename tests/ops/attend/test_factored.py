import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from laws import Case, assert_same_attention, cases, operands
from quatrain.ops.attend import blocks, factored, reference
from quatrain.ops.positions import Grid
from quatrain.ops.support import Support
from quatrain.specs import Term

SERVED = [Term.parse(digits) for digits in ("0100", "0101", "0110", "0111")]


@settings(max_examples=80, deadline=None)
@given(cases(st.sampled_from(SERVED), longest=5))
def test_it_agrees_with_the_reference_in_value_and_gradient(case):
    terms, asked = case
    assume(asked.grid.ndim == 2 and asked.support.attend_mask is None)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(blocks, "LONGEST", 3)
        assert_same_attention(factored.attend, reference.attend, terms, asked)


@pytest.mark.parametrize("terms", SERVED, ids=str)
@pytest.mark.parametrize("spread", [40.0, 1000.0])
def test_it_agrees_on_logits_so_far_apart_that_products_underflow(terms, spread):
    grid = Grid((5, 6), (3, 4))
    case = Case(operands(terms, grid, spread=spread), grid, Support())
    assert_same_attention(factored.attend, reference.attend, terms, case)
