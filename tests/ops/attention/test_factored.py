import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.testing import assert_close

from laws import Case, assert_same_attention, cases, operands
from quatrain.ops.attention import factored, reference
from quatrain.ops.attention.blockwise import loop as blocked
from quatrain.ops.attention.blockwise import query_block as blocks
from quatrain.ops.positions import Grid
from quatrain.ops.support import Support
from quatrain.ops.terms import Operands
from quatrain.specs import Term

SERVED = [Term.parse(digits) for digits in ("0100", "0101", "0110", "0111")]


@settings(max_examples=120, deadline=None)
@given(
    cases(st.sampled_from(SERVED), longest=5, ndims=(2,), leave_out=("attend_mask",)),
    st.sampled_from([20, 200, blocked.CELLS]),
)
def test_it_agrees_with_the_reference_in_value_and_gradient(case, cells):
    terms, asked = case
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(blocks, "LONGEST", 3)
        patch.setattr(blocked, "CELLS", cells)
        assert_same_attention(factored.attend, reference.attend, terms, asked)


@pytest.mark.parametrize("terms", SERVED, ids=str)
@pytest.mark.parametrize("spread", [40.0, 1000.0])
def test_it_agrees_on_logits_so_far_apart_that_products_underflow(terms, spread):
    grid = Grid((5, 6), (3, 4))
    case = Case(operands(terms, grid, spread=spread), grid, Support())
    assert_same_attention(factored.attend, reference.attend, terms, case)


@pytest.mark.parametrize("apart", range(1, 201, 3))
def test_two_keys_of_equal_logits_share_though_each_factor_prefers_one_of_them(apart):
    """Between the last normal number and zero, products lose their digits one by one."""
    near, far = 0.0, -float(apart)
    made = Operands(
        value=torch.tensor([1.0, -1.0, 0.0]).view(1, 1, 3, 1).requires_grad_(),
        query=torch.ones(1, 1, 1, 1),
        key=torch.tensor([far, near, far]).view(1, 1, 3, 1),
        key_bias=torch.ones(1, 1),
        relative=(torch.zeros(1, 1, 1), torch.tensor([near, far, far]).view(1, 3, 1)),
    )
    output = factored.attend(Term.parse("0110"), made, Grid((1, 1), (1, 3)), Support())
    third = torch.tensor([far, far, 2 * far]).softmax(0)[2].item()
    weights = torch.tensor([(1 - third) / 2, (1 - third) / 2, third])
    (gradient,) = torch.autograd.grad(output.sum(), made.value)
    assert_close(output, torch.zeros_like(output), rtol=0, atol=1e-6)
    assert_close(gradient.flatten(), weights, rtol=0, atol=1e-6)
