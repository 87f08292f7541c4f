"""The bounds of a band, as the kernels compute them."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from quatrain.ops.attention.blockwise.inputs import mask_value

triton = pytest.importorskip("triton", reason="Triton is not installed")
tl = pytest.importorskip("triton.language")
kernels = pytest.importorskip("quatrain.ops.attention.triton.attention_kernels")


@triton.jit
def _bounds(bounds, sizes, first, last, row):
    start, stop = kernels.reached_rows(sizes, first, last, True)
    tl.store(bounds, start)
    tl.store(bounds + 1, stop)
    start, stop = kernels.reaching_queries(sizes, row, True)
    tl.store(bounds + 2, start)
    tl.store(bounds + 3, stop)


@settings(max_examples=50)
@given(
    across=st.integers(1, 5),
    height=st.integers(1, 9),
    stride=st.integers(1, 3),
    reach=st.integers(0, 4),
    draw=st.data(),
)
def test_bounds_are_the_first_and_the_last_within_reach(across, height, stride, reach, draw):
    """Of rows of keys for a tile of queries, and of queries for a row of keys."""
    rows, queries = -(-height // stride), height * across
    first = draw.draw(st.integers(0, queries - 1))
    last = draw.draw(st.integers(first, queries + 15))
    row = draw.draw(st.integers(0, rows - 1))
    bounds = torch.zeros(4, dtype=torch.int64)
    sizes = (queries, rows, 1, 1, 1, 1, 1, 1, across, stride, reach)
    _bounds[(1,)](bounds, sizes, first, last, row)
    start, stop, first_query, stop_query = bounds.tolist()

    def within_reach(key, query):
        return abs(key * stride - query // across) <= reach

    reached = [key for key in range(rows) for q in range(first, last + 1) if within_reach(key, q)]
    if reached:
        assert (start, stop) == (min(reached), max(reached) + 1)
    else:
        assert 0 <= start < stop <= rows
    reaching = [query for query in range(queries) if within_reach(row, query)]
    assert (first_query, stop_query) == (min(reaching), max(reaching) + 1)


def test_bfloat16_represents_the_mask_value_exactly():
    lowest = torch.tensor(mask_value(torch.float32))
    assert lowest.bfloat16().float() == lowest
    assert (4 * lowest).isfinite()
