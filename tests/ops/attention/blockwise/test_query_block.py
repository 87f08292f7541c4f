import torch
from hypothesis import given
from hypothesis import strategies as st

from laws import grids
from quatrain.ops.attention.blockwise.query_block import MAX_QUERIES, query_blocks
from quatrain.ops.positions import Grid
from quatrain.ops.support import Structure

structures = st.sampled_from([Structure(), Structure(window=1), Structure(window=5)])


@given(grids(longest=9), structures, st.booleans())
def test_blocks_contain_every_query_once_and_reach_every_allowed_key(grid, structure, causal):
    structure = Structure(causal and grid.ndim == 1, structure.window)
    queries = []
    for block in query_blocks(grid, structure):
        queries.extend(range(block.queries.start, block.queries.stop))
        for axis in range(grid.ndim):
            span = slice(block.first[axis], block.last[axis] + 1)
            allowed = structure.allows(grid.relative_matrix(axis, torch.device("cpu"))[span]).any(0)
            reached = torch.zeros_like(allowed)
            reached[block.keys[axis].start : block.keys[axis].stop] = True
            assert not (allowed & ~reached).any()
    assert queries == list(range(torch.Size(grid.queries).numel()))


def test_long_rows_are_divided_into_blocks_of_nearly_equal_length():
    blocks = query_blocks(Grid((2 * MAX_QUERIES + 1,), (5,)), Structure())
    counts = {block.count for block in blocks}
    assert max(counts) <= MAX_QUERIES
    assert max(counts) - min(counts) <= 1
