from functools import partial

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.testing import assert_close

from laws import AXIAL, Case, assert_same_attention, cases, operands
from quatrain.ops.attention.blockwise import loop, query_block
from quatrain.ops.attention.blockwise.operator import blockwise_attention
from quatrain.ops.attention.reference import reference_attention
from quatrain.ops.positions import Grid
from quatrain.ops.support import Support
from quatrain.ops.terms import Operands
from quatrain.specs import Term

factored_attention = partial(blockwise_attention, factored=True)
APPLICABLE = [Term.parse(digits) for digits in ("0100", "0101", "0110", "0111")]


@settings(max_examples=60, deadline=None)
@given(
    cases(st.sampled_from(APPLICABLE), longest=5, ndims=(2,), leave_out=("attend_mask",), **AXIAL),
    st.sampled_from([20, 200, loop.MAX_NUMBERS]),
)
def test_it_agrees_with_the_reference(case, max_numbers):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(query_block, "MAX_QUERIES", 3)
        patch.setattr(loop, "MAX_NUMBERS", max_numbers)
        assert_same_attention(factored_attention, reference_attention, case)


@pytest.mark.parametrize("terms", APPLICABLE, ids=str)
@pytest.mark.parametrize("spread", [40.0, 1000.0])
@pytest.mark.parametrize("table", [None, "axial"])
@pytest.mark.parametrize("null_key", [False, True])
def test_it_agrees_where_products_of_exponentials_underflow(terms, spread, table, null_key):
    grid = Grid((5, 6), (3, 4))
    x = operands(terms, grid, spread=spread, table=table)
    case = Case(terms, x, grid, Support(null_key=null_key))
    assert_same_attention(factored_attention, reference_attention, case)


@pytest.mark.parametrize("distance", range(1, 201, 9))
def test_two_keys_of_equal_logits_have_equal_weights(distance):
    """Each factor prefers another key; down to zero, denormal products lose their digits."""
    near, far = 0.0, -float(distance)
    operands = Operands(
        value=torch.tensor([1.0, -1.0, 0.0]).view(1, 1, 3, 1).requires_grad_(),
        query=torch.ones(1, 1, 1, 1),
        key=torch.tensor([far, near, far]).view(1, 1, 3, 1),
        content_vector=torch.ones(1, 1),
        relative=(torch.zeros(1, 1, 1), torch.tensor([near, far, far]).view(1, 3, 1)),
    )
    output = factored_attention(Case(Term.parse("0110"), operands, Grid((1, 1), (1, 3)), Support()))
    third = torch.tensor([far, far, 2 * far]).softmax(0)[2].item()
    weights = torch.tensor([(1 - third) / 2, (1 - third) / 2, third])
    (grad_value,) = torch.autograd.grad(output.sum(), operands.value)
    assert_close(output, torch.zeros_like(output), rtol=0, atol=1e-6)
    assert_close(grad_value.flatten(), weights, rtol=0, atol=1e-6)
