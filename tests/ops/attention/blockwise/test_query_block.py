import torch
from hypothesis import given
from hypothesis import strategies as st

from laws import grids
from quatrain.ops.attention.blockwise.query_block import LONGEST, blocks
from quatrain.ops.positions import Grid
from quatrain.ops.support import Structure

structures = st.sampled_from([Structure(), Structure(window=1), Structure(window=5)])


@given(grids(longest=9), structures, st.booleans())
def test_blocks_hold_every_query_once_and_no_key_is_reached_outside_of_them(grid, shape, causal):
    structure = Structure(causal and grid.ndim == 1, shape.window)
    seen = []
    for block in blocks(grid, structure):
        seen.extend(range(block.queries.start, block.queries.stop))
        for axis in range(grid.ndim):
            span = slice(block.first[axis], block.last[axis] + 1)
            kept = structure.allows(grid.offsets(axis, torch.device("cpu"))[span]).any(0)
            reached = torch.zeros_like(kept)
            reached[block.keys[axis].start : block.keys[axis].stop] = True
            assert not (kept & ~reached).any()
    assert seen == list(range(torch.Size(grid.queries).numel()))


def test_long_rows_are_cut_into_blocks_of_nearly_the_same_length():
    counts = {block.count for block in blocks(Grid((2 * LONGEST + 1,), (5,)), Structure())}
    assert max(counts) <= LONGEST
    assert max(counts) - min(counts) <= 1
