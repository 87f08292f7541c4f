import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from laws import Case, assert_same_attention, cases, operands
from quatrain.ops.attend import fused, reference
from quatrain.ops.positions import Grid
from quatrain.ops.support import Support
from quatrain.specs import Term

SERVED = [Term.parse("1000"), Term.parse("1010")]
every_term_set = pytest.mark.parametrize("terms", SERVED, ids=str)


@settings(max_examples=60)
@given(cases(st.sampled_from(SERVED), longest=7))
def test_it_agrees_with_the_reference_in_value_and_gradient(case):
    terms, asked = case
    assert_same_attention(fused.attend, reference.attend, terms, asked)


@every_term_set
def test_it_agrees_on_logits_far_apart(terms):
    grid = Grid((6,), (5,))
    case = Case(operands(terms, grid, spread=40.0), grid, Support())
    assert_same_attention(fused.attend, reference.attend, terms, case)


@every_term_set
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32, torch.float64])
def test_rows_without_any_key_are_zero_with_finite_gradients_in_every_precision(terms, dtype):
    grid, kept = Grid((3,), (4,)), torch.tensor([[True] * 4, [False] * 4, [True] * 4])
    case = Case(operands(terms, grid), grid, Support(attend_mask=kept))
    lower = {
        name: value.detach().to(dtype).requires_grad_()
        for name, value in vars(case.operands).items()
        if isinstance(value, torch.Tensor)
    }
    made = type(case.operands)(**lower)
    output = fused.attend(terms, made, grid, case.support)
    assert output.dtype == dtype
    assert not output[:, :, 1].any()
    for gradient in torch.autograd.grad(output.sum(), lower.values()):
        assert gradient.isfinite().all()
