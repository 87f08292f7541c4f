import pytest
import torch
from hypothesis import given, settings
from torch.utils.flop_counter import FlopCounterMode

from laws import METHOD_TERMS, Case, assert_same_attention, cases, operands
from quatrain.ops.attention.blockwise import loop, query_block
from quatrain.ops.attention.blockwise.operator import blockwise_attention, blockwise_inputs
from quatrain.ops.attention.reference import reference_attention
from quatrain.ops.counts import block_totals
from quatrain.ops.positions import Grid
from quatrain.ops.support import Structure, Support
from quatrain.specs import Term


@settings(max_examples=50, deadline=None)
@given(cases(longest=7))
def test_blocks_of_few_queries_and_heads_agree_with_the_reference(case):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(query_block, "MAX_QUERIES", 3)
        patch.setattr(loop, "MAX_NUMBERS", 50)
        assert_same_attention(blockwise_attention, reference_attention, case)


@pytest.mark.parametrize("terms", METHOD_TERMS, ids=str)
@pytest.mark.parametrize("window", [None, 5])
def test_executed_products_match_the_closed_form(terms, window):
    grid, structure = Grid((3, 70), (2, 35), 2), Structure(window=window)
    with torch.no_grad():
        inputs = blockwise_inputs(Case(terms, operands(terms, grid), grid, Support(window=window)))
        with FlopCounterMode(display=False) as counter:
            loop.BlockLoop(inputs, grid, structure).forward()
    totals = block_totals(grid, structure)
    products = totals.pairs * (2 + 3 * (Term.QUERY_KEY in terms))
    if terms.use_position:
        by_query = Term.QUERY_POSITION in terms
        products += 3 * (totals.query_relative_positions if by_query else totals.relative_positions)
    assert counter.get_total_flops() == 2 * 2 * 2 * products


@pytest.mark.parametrize("grid", [Grid((1, 64), (1, 8192)), Grid((2, 512), (2, 512))])
def test_heads_are_not_grouped_where_rows_are_few_but_long(grid):
    batch, heads = loop.group_size(grid, batch=32, heads=8, width=32, factored=True)
    block = next(iter(query_block.query_blocks(grid, Structure())))
    assert batch * heads * block.count * grid.keys[1] <= loop.MAX_NUMBERS
