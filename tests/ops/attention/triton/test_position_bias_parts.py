"""Where a table has an offset: the kernel that lays them out, interpreted, one axis at a time."""

import os

import pytest
import torch

from quatrain.ops.attention.triton.position_bias import Call, tables_of
from quatrain.ops.positions import Grid
from quatrain.ops.terms import Operands
from quatrain.specs import Term

pytest.importorskip("triton", reason="Triton is not installed")
pytestmark = [
    pytest.mark.skipif("TRITON_INTERPRET" not in os.environ, reason="nothing interprets kernels"),
]


@pytest.mark.parametrize("lines", [True, False])
@pytest.mark.parametrize("stride", [1, 2, 3])
def test_every_place_has_the_offset_of_its_key_to_its_query(lines, stride):
    """Encodings are the offsets themselves, so that a table shows which one it took."""
    grid = Grid((7, 66), (2, 40), stride)
    offsets = [grid.offset_tensor(axis, torch.device("cpu")).double() for axis in (0, 1)]
    value = torch.zeros(1, 1, 80, 1, dtype=torch.float64)
    ones, encodings = torch.ones(1, 1).double(), tuple(each[None, :, None] for each in offsets)
    made = Operands(value, position_bias=ones, relative=encodings)
    found = tables_of(Call(Term.POSITION, made, grid, lines=lines))
    rows, columns = (grid.offsets(axis, value.device).double() for axis in (0, 1))
    if not lines:
        rows = rows.repeat_interleave(66, 0).mT
        columns = columns.repeat(7, 1)
    assert torch.equal(found.rows[0, 0], rows)
    assert torch.equal(found.columns[0, 0], columns)
