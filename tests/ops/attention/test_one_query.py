import pytest
import torch
from hypothesis import given, settings
from torch.testing import assert_close

from laws import cases
from quatrain.ops.attention.one_query import one_query
from quatrain.ops.attention.reference import attend
from quatrain.ops.positions import Grid
from quatrain.ops.support import Support
from quatrain.ops.terms import Operands
from quatrain.specs import InputError


@settings(max_examples=60)
@given(cases())
def test_each_query_alone_gives_its_row(drawn):
    terms, case = drawn
    whole = attend(terms, case.operands, case.grid, case.support)
    sizes = torch.Size(case.grid.queries)
    for number in {0, sizes.numel() // 2, sizes.numel() - 1}:
        at = tuple(int(each) for each in torch.unravel_index(torch.tensor(number), sizes))
        row = attend(terms, *one_query(at, case.operands, case.grid, case.support))
        assert_close(row, whole[:, :, number : number + 1])


@pytest.mark.parametrize("at", [(3, 0), (-1, 0), (0,), (0, 0, 0)])
def test_a_query_that_is_not_there_is_told(at):
    operands = Operands(value=torch.zeros(1, 1, 6, 2))
    with pytest.raises(InputError, match=r"coordinates of a query among \(3, 2\)"):
        one_query(at, operands, Grid((3, 2), (3, 2)), Support())
