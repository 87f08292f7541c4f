import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.testing import assert_close

from laws import grids
from ops import loops
from quatrain.ops.positions import Grid, align_to_keys, expand_queries, sinusoid
from quatrain.specs import InputError


def test_the_relative_shift_of_the_modules_picture():
    scores = torch.arange(15.0).reshape(1, 1, 3, 5)
    aligned = align_to_keys(scores, Grid((3,), (3,)), axis=0)
    assert aligned[0, 0].tolist() == [[2, 3, 4], [6, 7, 8], [10, 11, 12]]


@given(grids(longest=6))
def test_each_score_moves_to_the_key_of_its_relative_position(grid):
    queries, keys = (torch.Size(sizes).numel() for sizes in (grid.queries, grid.keys))
    for axis in range(grid.ndim):
        occurring = list(grid.relative_range(axis))
        scores = torch.tensor(occurring).expand(2, 3, queries, -1)
        aligned = align_to_keys(scores.double(), grid, axis)
        across = torch.Size(grid.keys[axis + 1 :]).numel()
        for q in range(queries):
            for k in range(keys):
                column = k // across % grid.keys[axis]
                assert aligned[1, 2, q, column] == loops.relative_position(grid, q, k)[axis]


class Shift(torch.nn.Module):
    """The relative positions of all pairs, by the relative shift."""

    def forward(self, queries, keys):
        grid = Grid((queries.shape[0],), (keys.shape[0],))
        relative = grid.relative_tensor(0, queries.device)
        return align_to_keys(relative.expand(1, 1, queries.shape[0], -1), grid, 0)


@pytest.mark.compile
def test_the_relative_shift_is_exported_for_any_number_of_queries_and_keys():
    length = {0: torch.export.Dim.DYNAMIC}
    example = torch.zeros(4), torch.zeros(3)
    exported = torch.export.export(Shift(), example, dynamic_shapes=(length, length)).module()
    for queries, keys in ((4, 3), (1, 5), (6, 1), (1, 1)):
        expected = Grid((queries,), (keys,)).relative_matrix(0, torch.device("cpu"))
        assert_close(exported(torch.zeros(queries), torch.zeros(keys))[0, 0], expected)


@given(grids(longest=6))
def test_the_relative_range_spans_the_relative_positions_of_all_pairs(grid):
    for axis in range(grid.ndim):
        relative = grid.relative_matrix(axis, torch.device("cpu"))
        occurring = grid.relative_range(axis)
        assert (int(relative.min()), int(relative.max())) == (occurring[0], occurring[-1])
        assert grid.relative_tensor(axis, torch.device("cpu")).tolist() == list(occurring)


@given(st.integers(1, 8).map(lambda n: 2 * n), st.floats(2, 1e5))
def test_the_encoding_agrees_with_the_formula(channels, wavelength):
    positions = torch.arange(-50, 51)
    encoding = sinusoid(positions, channels, wavelength, torch.float64)
    expected = [loops.sinusoid(each, channels, wavelength) for each in positions.tolist()]
    assert_close(encoding, torch.tensor(expected, dtype=torch.float64))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
def test_distant_positions_are_encoded_in_float32_at_least(dtype):
    positions = torch.arange(-3000, 3000, 7)
    encoding = sinusoid(positions, 16, 1e4, dtype)
    assert encoding.dtype == torch.float32
    exact = sinusoid(positions, 16, 1e4, torch.float64)
    assert_close(encoding.double(), exact, atol=1e-3, rtol=0)


def test_queries_and_keys_of_different_rank_are_refused():
    with pytest.raises(InputError) as caught:
        Grid((3,), (3, 3))
    assert caught.value.field == "keys"


@pytest.mark.parametrize(("queries", "keys"), [((0,), (3,)), ((3, 2), (3, 0))])
def test_an_empty_axis_is_refused(queries, keys):
    with pytest.raises(InputError) as caught:
        Grid(queries, keys)
    assert caught.value.field == ("queries" if 0 in queries else "keys")


def test_an_axis_of_size_one_is_expanded_to_the_queries():
    grid, x = Grid((3, 4), (2, 2), 2), torch.randn(2, 1, 1, 5)
    expanded = expand_queries(x, grid)
    assert expanded.shape == (2, 1, 12, 5)
    assert expanded.data_ptr() == x.data_ptr()
    beam = torch.randn(2, 1, 3, 5)
    assert expand_queries(beam, Grid((1,), (4,))) is beam
