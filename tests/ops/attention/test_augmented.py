import pytest
import torch
from hypothesis import given, settings
from torch.testing import assert_close

from laws import Case, assert_same_attention, cases, operands
from quatrain.ops.attention import augmented, reference
from quatrain.ops.positions import Grid
from quatrain.ops.support import Support
from quatrain.specs import ALL_TERM_SETS, Term

every_term_set = pytest.mark.parametrize("terms", ALL_TERM_SETS, ids=str)


@settings(max_examples=80, deadline=None)
@given(cases(longest=5, ndims=(2,), leave_out=("window", "attend_mask")))
def test_it_agrees_with_the_reference_in_value_and_gradient(case):
    terms, asked = case
    assert_same_attention(augmented.attend, reference.attend, terms, asked)


@every_term_set
def test_it_agrees_on_logits_far_apart(terms):
    grid = Grid((6, 5), (3, 5))
    case = Case(operands(terms, grid, spread=40.0), grid, Support())
    assert_same_attention(augmented.attend, reference.attend, terms, case)


@every_term_set
def test_queries_and_keys_are_as_wide_as_kernels_want_them(terms):
    query, key = augmented._augmented(
        terms, operands(terms, Grid((3, 4), (3, 4))), Grid((3, 4), (3, 4))
    )
    assert query.shape[-1] == key.shape[-1] > 0
    assert query.shape[-1] % augmented.WIDTHS == 0


@pytest.mark.parametrize("width", [8, 5])
@pytest.mark.parametrize("wide", [True, False])
def test_kernels_get_contiguous_axes_of_widths_that_they_take(width, wide):
    x = torch.randn(2, 3, width, 7).mT
    taken = augmented.as_kernels_take(x, wide=wide)
    assert taken.stride(-1) == 1
    assert taken.shape[-1] == (8 if wide else width)
    assert torch.equal(taken[..., :width], x)
    assert not taken[..., width:].any()


@pytest.mark.parametrize(("width", "side"), [(256, 16), (512, 32)])
def test_wide_heads_agree_with_the_formula(width, side):
    terms, grid = Term.parse("1111"), Grid((side, side), (side, side))
    made = operands(terms, grid, batch=1, heads=1, spread=width**-0.5, widths=(width, width))
    assert augmented._augmented(terms, made, grid)[0].shape[-1] == width + 2 * side
    case = Case(made, grid, Support())
    assert_same_attention(augmented.attend, reference.attend, terms, case)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_close_and_rows_without_any_key_are_zero(dtype):
    terms, grid = Term.parse("1111"), Grid((7, 6), (7, 6))
    made = operands(terms, grid)
    lower = {n: x.to(dtype) for n, x in vars(made).items() if isinstance(x, torch.Tensor)}
    lower = type(made)(**lower, relative=tuple(x.to(dtype) for x in made.relative), scale=0.7)
    padding = torch.zeros(2, 42, dtype=torch.bool)
    padding[1] = True
    support = Support(key_padding_mask=padding)
    output = augmented.attend(terms, lower, grid, support)
    assert output.dtype == dtype
    assert not output[1].any()
    expected = reference.attend(terms, made, grid, support)
    assert_close(output.double(), expected, rtol=0.05, atol=0.1)
