import pytest
import torch
from hypothesis import given, settings
from torch.testing import assert_close

from laws import AXIAL, Case, assert_same_attention, cases, convert_operands, operands
from quatrain.ops.attention.augmented import (
    WIDTH_MULTIPLE,
    augmented_attention,
    augmented_query_key,
    pad_for_sdpa,
)
from quatrain.ops.attention.reference import reference_attention
from quatrain.ops.positions import Grid
from quatrain.ops.support import Support
from quatrain.specs import ALL_TERM_SETS, Term

every_term_set = pytest.mark.parametrize("terms", ALL_TERM_SETS, ids=str)


@settings(max_examples=50, deadline=None)
@given(cases(longest=5, ndims=(2,), leave_out=("window", "attend_mask"), **AXIAL))
def test_it_agrees_with_the_reference(case):
    assert_same_attention(augmented_attention, reference_attention, case)


@every_term_set
def test_it_agrees_on_widely_spread_logits(terms):
    grid = Grid((6, 5), (3, 5))
    case = Case(terms, operands(terms, grid, spread=40.0), grid, Support())
    assert_same_attention(augmented_attention, reference_attention, case)


@every_term_set
def test_widths_of_queries_and_keys_suit_torchs_kernels(terms):
    grid = Grid((3, 4), (3, 4))
    query, key = augmented_query_key(Case(terms, operands(terms, grid), grid, Support()))
    assert query.shape[-1] == key.shape[-1] > 0
    assert query.shape[-1] % WIDTH_MULTIPLE == 0


@pytest.mark.parametrize("width", [8, 5])
@pytest.mark.parametrize("pad_width", [True, False])
def test_padding_makes_the_last_axis_contiguous_and_wide_enough(width, pad_width):
    x = torch.randn(2, 3, width, 7).mT
    padded = pad_for_sdpa(x, pad_width=pad_width)
    assert padded.stride(-1) == 1
    assert padded.shape[-1] == (8 if pad_width else width)
    assert torch.equal(padded[..., :width], x)
    assert not padded[..., width:].any()


@pytest.mark.parametrize(
    ("width", "side"), [(256, 16), pytest.param(512, 32, marks=pytest.mark.slow)]
)
def test_wide_heads_agree_with_the_formula(width, side):
    terms, grid = Term.parse("1111"), Grid((side, side), (side, side))
    x = operands(terms, grid, batch=1, heads=1, spread=width**-0.5, widths=(width, width))
    case = Case(terms, x, grid, Support())
    assert augmented_query_key(case)[0].shape[-1] == width + 2 * side
    assert_same_attention(augmented_attention, reference_attention, case)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_close_and_fully_masked_rows_are_zero(dtype):
    terms, grid = Term.parse("1111"), Grid((7, 6), (7, 6))
    x = operands(terms, grid)
    lower = convert_operands(x, lambda x: x.detach().to(dtype))
    padding = torch.zeros(2, 42, dtype=torch.bool)
    padding[1] = True
    support = Support(key_padding_mask=padding)
    output = augmented_attention(Case(terms, lower, grid, support))
    assert output.dtype == dtype
    assert not output[1].any()
    expected = reference_attention(Case(terms, x, grid, support))
    assert_close(output.double(), expected, rtol=0.05, atol=0.1)
