"""What no table may show: the kernels write every number of it, and nothing beside it."""

import os

import pytest
import torch

from quatrain.ops.attention.triton.position_bias import SIZE, Call, gradients_of_tables, tables_of
from quatrain.ops.positions import Grid
from quatrain.ops.terms import Operands
from quatrain.specs import Term

pytest.importorskip("triton", reason="Triton is not installed")
pytestmark = [
    pytest.mark.skipif("TRITON_INTERPRET" not in os.environ, reason="nothing interprets kernels"),
]


@pytest.mark.parametrize("queries", [(1, 1), (1, SIZE), (SIZE + 1, 1), (3, SIZE - 1)])
def test_every_number_is_written_where_tiles_end_and_where_they_do_not(queries, monkeypatch):
    grid = Grid(queries, queries)
    encodings = tuple(torch.ones(2, len(grid.offset_range(axis)), 3) for axis in (0, 1))
    empty, like = torch.Tensor.new_empty, torch.empty_like

    def poisoned(self, *shape, **named):
        return empty(self, *shape, **named).fill_(torch.nan)

    monkeypatch.setattr(torch.Tensor, "new_empty", poisoned)
    monkeypatch.setattr(torch, "empty_like", lambda x, **named: like(x, **named).fill_(torch.nan))
    ones = torch.ones(1, 2, queries[0] * queries[1], 3)
    made = Operands(ones, ones, ones, torch.ones(2, 3), torch.ones(2, 3), encodings)
    call = Call(Term.parse("1111"), made, grid)
    found = tables_of(call)
    assert found.rows.unique().tolist() == found.columns.unique().tolist() == [6.0]
    assert found.asks.unique().tolist() == [2.0]
    back = gradients_of_tables(call, *(torch.ones(x.shape) for x in vars(found).values()))
    for each in (back.query, back.key_bias, back.position_bias, *back.relative):
        assert each.isfinite().all()
