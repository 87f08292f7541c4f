import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.testing import assert_close

from quatrain.ops.positions import Grid
from quatrain.ops.rotary import axial_frequencies, rotate
from quatrain.specs import InputError


def vectors(count, width, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(1, 1, count, width, dtype=torch.float64, generator=generator)


def test_a_rotation_by_the_formula():
    x, (a, b) = vectors(1, 4), (3.0, 3.0 / 100**0.5)
    rotated = rotate(x, torch.tensor([[3]]), axial_frequencies(4, 1, 100.0))
    x0, x1, x2, x3 = x.flatten().tolist()
    expected = [
        x0 * math.cos(a) - x2 * math.sin(a),
        x1 * math.cos(b) - x3 * math.sin(b),
        x2 * math.cos(a) + x0 * math.sin(a),
        x3 * math.cos(b) + x1 * math.sin(b),
    ]
    assert_close(rotated.flatten(), torch.tensor(expected, dtype=torch.float64))


def test_on_a_map_each_axis_has_planes_of_its_own():
    rows, columns = axial_frequencies(8, 2, 100.0)
    alone = axial_frequencies(4, 1, 100.0)[0]
    assert_close(rows, torch.cat((alone, torch.zeros(2, dtype=torch.float64))))
    assert_close(columns, torch.cat((torch.zeros(2, dtype=torch.float64), alone)))


@given(st.integers(1, 2), st.integers(-5, 5), st.booleans())
def test_products_depend_on_the_relative_position_alone(ndim, shift, mixed):
    query, key = vectors(1, 8), vectors(1, 8, seed=1)
    frequencies = axial_frequencies(8, ndim, 100.0)
    if mixed:
        generator = torch.Generator().manual_seed(2)
        frequencies = torch.randn(1, ndim, 4, dtype=torch.float64, generator=generator)
    at, other = torch.full((1, ndim), 2), torch.arange(3, 3 + ndim)[None]

    def product(offset):
        rotated = (
            rotate(query, at + offset, frequencies),
            rotate(key, other + offset, frequencies),
        )
        return (rotated[0] * rotated[1]).sum()

    assert_close(product(shift), product(0))
    assert_close(rotate(query, at, frequencies).norm(), query.norm())


def test_half_precision_rotates_by_exact_angles():
    x, far = vectors(1, 64).to(torch.bfloat16), torch.tensor([[100_003]])
    frequencies = axial_frequencies(64, 1, 10_000.0)
    exact = rotate(x.double(), far, frequencies)
    assert (rotate(x, far, frequencies).double() - exact).abs().max() < 0.03


def test_coordinates_of_queries_and_keys():
    cpu = torch.device("cpu")
    grid = Grid((2, 3), (1, 2), key_stride=2)
    assert grid.query_coordinates(cpu).tolist() == [[0, 0], [0, 1], [0, 2], [1, 0], [1, 1], [1, 2]]
    assert grid.key_coordinates(cpu).tolist() == [[0, 0], [0, 2]]
    assert Grid((1,), (2,), first_query=5).query_coordinates(cpu).tolist() == [[5]]


def test_a_width_that_cannot_be_rotated_is_refused():
    with pytest.raises(InputError) as caught:
        axial_frequencies(6, 2, 100.0)
    assert caught.value.field == "width"
