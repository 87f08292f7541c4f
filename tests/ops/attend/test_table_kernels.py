"""What no table may show: the kernels write every number of it, and nothing beside it."""

import os

import pytest
import torch

from quatrain.ops.attend.tables import SIZE, tables_of
from quatrain.ops.positions import Grid

pytest.importorskip("triton", reason="Triton is not installed")
pytestmark = [
    pytest.mark.skipif("TRITON_INTERPRET" not in os.environ, reason="nothing interprets kernels"),
]


@pytest.mark.parametrize("queries", [(1, 1), (1, SIZE), (SIZE + 1, 1), (3, SIZE - 1)])
def test_every_number_is_written_where_tiles_end_and_where_they_do_not(queries, monkeypatch):
    grid = Grid(queries, queries)
    encodings = tuple(torch.ones(2, len(grid.offset_range(axis)), 3) for axis in (0, 1))
    empty = torch.Tensor.new_empty

    def poisoned(self, *shape, **named):
        return empty(self, *shape, **named).fill_(torch.nan)

    monkeypatch.setattr(torch.Tensor, "new_empty", poisoned)
    rows, columns = tables_of(torch.ones(1, 2, queries[0] * queries[1], 3), encodings, grid)
    assert rows.unique().tolist() == columns.unique().tolist() == [3.0]
