import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn.functional import interpolate

from quatrain.tasks.digit_scenes.canvas import Draws, enlarge, line, paint


@pytest.mark.parametrize("size", [(8, 8), (16, 12), (31, 29)])
def test_enlarging_is_bilinear_rounded_down(size):
    strengths = np.random.default_rng(0).integers(0, 17, (8, 8))
    wanted = interpolate(torch.from_numpy(strengths)[None, None].double(), size, mode="bilinear")[
        0, 0
    ]
    difference = (wanted * 255 / 16).numpy() - enlarge(strengths, *size)
    assert difference.min() > -1e-9
    assert difference.max() < 1


def test_opaque_paint_covers_and_clear_paint_does_nothing():
    canvas = np.full((4, 5, 3), 100)
    opacity = np.array([[255, 0]])
    paint(canvas, opacity, 1, 2, np.array([7, 8, 9]))
    assert canvas[1, 2].tolist() == [7, 8, 9]
    canvas[1, 2] = 100
    assert (canvas == 100).all()


@given(st.lists(st.integers(0, 20), min_size=4, max_size=4))
def test_a_line_joins_its_ends_without_a_gap(ends):
    canvas = np.zeros((21, 21, 3), dtype=np.int64)
    corners = np.array(ends).reshape(2, 2)
    line(canvas, corners, np.array([1, 1, 1]))
    assert canvas[tuple(corners[0])].all()
    assert canvas[tuple(corners[1])].all()
    assert (canvas.sum() // 3) == np.abs(corners[1] - corners[0]).max() + 1


def test_both_ends_of_a_range_are_drawn_and_nothing_else():
    draws = Draws(3)
    assert {draws.between(2, 4) for _ in range(50)} == {2, 3, 4}
    assert set(draws.array(2, 4, (50,)).tolist()) == {2, 3, 4}
