import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn.functional import interpolate

from quatrain.tasks.digit_scenes.canvas import RandomIntegers, blend, draw_line, enlarge


@pytest.mark.parametrize("size", [(8, 8), (16, 12), (31, 29)])
def test_enlarging_is_bilinear_rounded_down(size):
    digit = np.random.default_rng(0).integers(0, 17, (8, 8))
    expected = interpolate(torch.from_numpy(digit)[None, None].double(), size, mode="bilinear")[
        0, 0
    ]
    difference = (expected * 255 / 16).numpy() - enlarge(digit, *size)
    assert difference.min() > -1e-9
    assert difference.max() < 1


def test_blending_with_full_and_zero_opacity():
    canvas = np.full((4, 5, 3), 100)
    opacity = np.array([[255, 0]])
    blend(canvas, opacity, 1, 2, np.array([7, 8, 9]))
    assert canvas[1, 2].tolist() == [7, 8, 9]
    canvas[1, 2] = 100
    assert (canvas == 100).all()


@given(st.lists(st.integers(0, 20), min_size=4, max_size=4))
def test_a_line_connects_its_ends_without_gaps(ends):
    canvas = np.zeros((21, 21, 3), dtype=np.int64)
    corners = np.array(ends).reshape(2, 2)
    draw_line(canvas, corners, np.array([1, 1, 1]))
    assert canvas[tuple(corners[0])].all()
    assert canvas[tuple(corners[1])].all()
    assert (canvas.sum() // 3) == np.abs(corners[1] - corners[0]).max() + 1


def test_random_integers_include_both_bounds():
    random = RandomIntegers(3)
    assert {random.integer(2, 4) for _ in range(50)} == {2, 3, 4}
    assert set(random.array(2, 4, (50,)).tolist()) == {2, 3, 4}
