import pytest
import torch
from hypothesis import given, settings
from torch.utils.flop_counter import FlopCounterMode

from laws import assert_same_attention, cases, operands
from quatrain.ops.attention import reference
from quatrain.ops.attention.blockwise import loop as blocked
from quatrain.ops.attention.blockwise import operator as opaque
from quatrain.ops.attention.blockwise import query_block as blocks
from quatrain.ops.counts import block_totals
from quatrain.ops.positions import Grid
from quatrain.ops.support import Structure, Support
from quatrain.specs import ALL_TERM_SETS, Term


def softmax(terms, made, grid, support):
    return opaque.blockwise_attention(terms, made, grid, support, product=False)


@settings(max_examples=120, deadline=None)
@given(cases(longest=7))
def test_blocks_of_few_queries_and_heads_agree_with_the_reference(case):
    terms, asked = case
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(blocks, "LONGEST", 3)
        patch.setattr(blocked, "CELLS", 50)
        assert_same_attention(softmax, reference.attend, terms, asked)


@pytest.mark.parametrize("terms", ALL_TERM_SETS, ids=str)
@pytest.mark.parametrize("window", [None, 5])
def test_the_products_that_run_are_those_of_the_closed_form(terms, window):
    grid, structure = Grid((3, 70), (2, 35), 2), Structure(window=window)
    with torch.no_grad():
        factors = opaque.factors_of(terms, operands(terms, grid), grid, Support(window=window))
        with FlopCounterMode(display=False) as counter:
            blocked.mix(factors, grid, structure, product=False)
    totals = block_totals(grid, structure)
    products = totals.pairs * (2 + 3 * (Term.QUERY_KEY in terms))
    if terms.use_position:
        by_query = Term.QUERY_POSITION in terms
        products += 3 * (totals.query_offsets if by_query else totals.offsets)
    assert counter.get_total_flops() == 2 * 2 * 2 * products


@pytest.mark.parametrize("grid", [Grid((1, 64), (1, 8192)), Grid((2, 512), (2, 512))])
def test_heads_are_not_taken_together_where_rows_are_few_but_long(grid):
    batch, heads = blocked.group_size(grid, batch=32, heads=8, width=32, product=True)
    block = next(iter(blocks.blocks(grid, Structure())))
    assert batch * heads * block.count * grid.keys[1] <= blocked.CELLS
