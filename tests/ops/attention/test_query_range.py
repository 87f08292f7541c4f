import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.testing import assert_close

from laws import cases
from quatrain.ops.attention.query_range import one_query, query_blocks
from quatrain.ops.attention.reference import reference_attention
from quatrain.ops.positions import Grid
from quatrain.ops.support import Support
from quatrain.ops.terms import AttentionInputs, Operands
from quatrain.specs import InputError, Term


@settings(max_examples=60)
@given(cases())
def test_one_query_gives_its_row_of_the_output(case):
    whole = reference_attention(case)
    sizes = torch.Size(case.grid.queries)
    for number in {0, sizes.numel() // 2, sizes.numel() - 1}:
        at = tuple(int(each) for each in torch.unravel_index(torch.tensor(number), sizes))
        row = reference_attention(one_query(at, case))
        assert_close(row, whole[:, :, number : number + 1])


@settings(max_examples=60)
@given(cases(), st.integers(1, 400))
def test_blocks_of_queries_give_the_rows_of_the_output_once_and_in_order(case, largest):
    whole = reference_attention(case)
    batch, heads, keys, _ = case.value.shape
    rows = []
    for queries, block in query_blocks(case, largest):
        assert_close(reference_attention(block), whole[:, :, queries])
        count = torch.Size(block.grid.queries).numel()
        assert count == 1 or count * batch * heads * keys <= largest
        rows += range(queries.start, queries.stop)
    assert rows == list(range(torch.Size(case.grid.queries).numel()))


@pytest.mark.parametrize("at", [(3, 0), (-1, 0), (0,), (0, 0, 0)])
def test_a_query_outside_of_the_grid_is_refused(at):
    operands = Operands(value=torch.zeros(1, 1, 6, 2))
    with pytest.raises(InputError) as caught:
        one_query(at, AttentionInputs(Term(0), operands, Grid((3, 2), (3, 2)), Support()))
    assert caught.value.field == "at"
