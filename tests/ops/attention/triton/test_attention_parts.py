"""What a window leaves of rows and of queries for the kernels of a GPU, interpreted."""

import os

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

triton = pytest.importorskip("triton", reason="Triton is not installed")
tl = pytest.importorskip("triton.language")
tile_parts = pytest.importorskip("quatrain.ops.attention.triton.attention_parts")
pytestmark = [
    pytest.mark.skipif("TRITON_INTERPRET" not in os.environ, reason="nothing interprets kernels"),
]


@triton.jit
def _bounds(found, sizes, first, last, row):
    start, stop = tile_parts.rows_within(sizes, first, last, True)
    tl.store(found, start)
    tl.store(found + 1, stop)
    start, stop = tile_parts.queries_within(sizes, row, True)
    tl.store(found + 2, start)
    tl.store(found + 3, stop)


@given(
    across=st.integers(1, 5),
    tall=st.integers(1, 9),
    stride=st.integers(1, 3),
    reach=st.integers(0, 4),
    draw=st.data(),
)
def test_bounds_are_the_first_and_the_last_that_a_window_reaches(across, tall, stride, reach, draw):
    """Of rows of keys for a tile of queries, and of queries for a row of keys."""
    above, queries = -(-tall // stride), tall * across
    first = draw.draw(st.integers(0, queries - 1))
    last = draw.draw(st.integers(first, queries + 15))
    row = draw.draw(st.integers(0, above - 1))
    found = torch.zeros(4, dtype=torch.int64)
    sizes = (queries, above, 1, 1, 1, 1, 1, 1, across, stride, reach)
    _bounds[(1,)](found, sizes, first, last, row)
    start, stop, begin, end = found.tolist()

    def near(key, query):
        return abs(key * stride - query // across) <= reach

    reached = [key for key in range(above) for q in range(first, last + 1) if near(key, q)]
    if reached:
        assert (start, stop) == (min(reached), max(reached) + 1)
    else:
        assert 0 <= start < stop <= above
    reaching = [query for query in range(queries) if near(row, query)]
    assert (begin, end) == (min(reaching), max(reaching) + 1)


def test_bfloat16_holds_what_stands_for_no_weight_exactly():
    from quatrain.ops.attention.blockwise.inputs import excluded

    lowest = torch.tensor(excluded(torch.float32))
    assert lowest.bfloat16().float() == lowest
    assert (4 * lowest).isfinite()
