import pytest
import torch
from torch.testing import assert_close

from ops import loops
from quatrain.nn.relative_position import RelativePosition, RelativePositionCache
from quatrain.ops.positions import Grid


def built(ndim, channels=8, wavelength=1_000.0):
    torch.manual_seed(0)
    return RelativePosition(channels, heads=2, ndim=ndim, wavelength=wavelength).double()


def by_hand(module, axis, position, wavelength=1_000.0):
    """V^R R of one relative position, head by head: (h, d)."""
    layer = module[axis]
    encoding = torch.tensor(loops.sinusoid(position, layer.in_features, wavelength)).double()
    return (layer.weight @ encoding).reshape(2, -1) * len(module) ** -0.5


@pytest.mark.parametrize(
    "grid",
    [Grid((3,), (5,)), Grid((1,), (4,), first_query=3), Grid((3, 4), (2, 5), 2)],
    ids=["sequence", "last query", "map"],
)
def test_each_relative_position_of_a_grid_is_encoded_and_projected_for_every_head(grid):
    module = built(grid.ndim)
    tables = module(grid)
    assert len(tables) == grid.ndim
    for axis, table in enumerate(tables):
        expected = [by_hand(module, axis, position) for position in grid.relative_range(axis)]
        assert_close(table, torch.stack(expected, dim=1))


def test_consecutive_relative_positions_of_a_sequence_are_those_of_a_grid():
    module, grid = built(1), Grid((4,), (6,))
    (table,) = module(grid)
    assert_close(module.between(range(-2, 3)), table[:, 1:6])
    assert module.between(range(0)).shape == (2, 0, 4)


def test_large_relative_positions_differ_in_half_precision():
    module = built(1).bfloat16()
    table = module.between(range(3000, 3002)).float()
    assert (table[:, 0] - table[:, 1]).abs().max() > 0.1


def test_parameters_are_one_matrix_per_axis_with_the_names_of_checkpoints():
    assert {name: tuple(p.shape) for name, p in built(2).named_parameters()} == {
        "0.weight": (8, 4),
        "1.weight": (8, 4),
    }


@torch.no_grad()
def test_the_cache_doubles_when_a_relative_position_is_missing():
    requests = []

    def compute(positions):
        requests.append(positions)
        return torch.arange(positions.start, positions.stop).double()[:, None].expand(2, -1, 1)

    cache = RelativePositionCache(compute)
    for position in range(300):
        positions = range(-position, 4 - position)
        tensor = cache.between(positions)
        assert tensor[1, :, 0].tolist() == list(positions)
    assert [each.start for each in requests] == [-32, -66, -134, -270, -542]
    assert all(each.stop == 4 for each in requests)


def test_with_gradients_the_tensor_is_computed_again():
    layer = torch.nn.Linear(1, 3)
    cache = RelativePositionCache(lambda positions: layer(torch.ones(len(positions), 1))[None])
    with torch.no_grad():
        assert not cache.between(range(-2, 1)).requires_grad
    cache.between(range(-2, 1)).sum().backward()
    cache.between(range(-2, 1)).sum().backward()
    assert layer.bias.grad.tolist() == [6.0] * 3
