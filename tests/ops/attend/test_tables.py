"""The kernels of position tables, interpreted, against the tables that views make."""

import os

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.testing import assert_close

from quatrain.ops.attend.tables import table_along, tables_of
from quatrain.ops.positions import Grid
from quatrain.ops.terms import position_tables

pytest.importorskip("triton", reason="Triton is not installed")
pytestmark = [
    pytest.mark.skipif("TRITON_INTERPRET" not in os.environ, reason="nothing interprets kernels"),
]
sizes = st.integers(1, 6)


def leaf(*shape):
    return torch.randn(*shape, dtype=torch.float64, requires_grad=True)


def made(grid, queries, batch=2, heads=3, width=5):
    torch.manual_seed(0)
    encodings = (leaf(heads, len(grid.offset_range(axis)), width) for axis in (0, 1))
    return leaf(batch, heads, queries, width), tuple(encodings)


def assert_same(mine, theirs, leaves):
    assert_close(mine, theirs)
    given = [torch.randn_like(x) for x in theirs]
    assert_close(*(torch.autograd.grad(tables, leaves, given) for tables in (mine, theirs)))


@settings(max_examples=15, deadline=None)
@given(st.tuples(sizes, sizes), st.integers(1, 3))
def test_tables_and_their_gradients_are_those_that_views_make(queries, stride):
    keys = tuple(-(-size // stride) for size in queries)
    grid = Grid(queries, keys, stride)
    asks, relative = made(grid, queries[0] * queries[1])
    rows, columns = position_tables(asks, relative, grid)
    assert_same(tables_of(asks, relative, grid), (rows.mT, columns), (asks, *relative))


@pytest.mark.parametrize("grid", [Grid((9, 70), (5, 35), 2), Grid((2, 3), (4, 90))], ids=str)
def test_they_are_where_queries_and_offsets_take_several_tiles(grid):
    asks, relative = made(grid, grid.queries[0] * grid.queries[1], batch=1)
    rows, columns = position_tables(asks, relative, grid)
    assert_same(tables_of(asks, relative, grid), (rows.mT, columns), (asks, *relative))


@pytest.mark.parametrize("axis", [0, 1])
def test_a_table_along_one_axis_is_that_of_a_line(axis):
    grid = Grid((5, 7), (3, 4), 2)
    asks, relative = made(grid, 1)
    line = Grid((grid.queries[axis],), (grid.keys[axis],), 2)
    theirs = position_tables(asks, relative[axis : axis + 1], line)
    mine = [table_along(asks, relative[axis], grid, axis)]
    assert_same(mine, theirs, (asks, relative[axis]))


@pytest.mark.compile
def test_they_compile_into_one_graph():
    torch.compiler.reset()
    grid = Grid((3, 4), (3, 4))
    asks, relative = made(grid, 12)
    compiled = torch.compile(tables_of, fullgraph=True, backend="aot_eager")
    assert_same(compiled(asks, relative, grid), tables_of(asks, relative, grid), (asks, *relative))
