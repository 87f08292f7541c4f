import itertools

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from quatrain.models.tiling import starts, tiled_inference
from quatrain.specs import InputError


@pytest.mark.parametrize("size", [(9, 13), (4, 5), (3, 30)])
@pytest.mark.parametrize("overlap", [0.0, 1 / 3, 0.9])
def test_a_network_that_looks_at_single_pixels_gives_what_it_gives_for_the_whole(size, overlap):
    images = torch.randn(2, 3, *size, dtype=torch.float64)
    found = tiled_inference(lambda x: x[:, :2] * 3, images, (4, 6), overlap)
    torch.testing.assert_close(found, images[:, :2] * 3)


def test_images_of_bytes_are_cut_into_tiles_too():
    images = torch.arange(60, dtype=torch.uint8).reshape(1, 1, 6, 10)
    found = tiled_inference(lambda x: x.float() / 7, images, (4, 6))
    torch.testing.assert_close(found, images.float() / 7)


def test_where_tiles_meet_their_outputs_are_averaged():
    numbers = iter((1.0, 3.0))
    found = tiled_inference(
        lambda x: torch.full_like(x, next(numbers)), torch.zeros(1, 1, 2, 6), (2, 4)
    )
    assert found[0, 0, 0].tolist() == [1, 1, 2, 2, 3, 3]


@given(st.integers(1, 60), st.integers(1, 20), st.floats(0, 0.95))
def test_tiles_cover_everything_and_share_enough(length, tile, overlap):
    found = starts(length, tile, overlap)
    assert found[0] == 0
    assert found[-1] == max(0, length - tile)
    steps = [after - before for before, after in itertools.pairwise(found)]
    assert all(0 < step <= max(1, tile * (1 - overlap)) for step in steps)


@pytest.mark.parametrize("overlap", [-0.1, 1.0])
def test_an_overlap_that_leaves_no_step_is_refused(overlap):
    with pytest.raises(InputError, match="overlap is"):
        tiled_inference(lambda x: x, torch.zeros(1, 1, 4, 4), (2, 2), overlap)
