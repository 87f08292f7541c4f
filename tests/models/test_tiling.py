import itertools

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from quatrain.models.tiling import tile_starts, tiled_inference
from quatrain.specs import InputError


@pytest.mark.parametrize("size", [(9, 13), (4, 5), (3, 30)])
@pytest.mark.parametrize("overlap", [0.0, 1 / 3, 0.9])
def test_a_pixelwise_network_gives_the_output_of_the_whole_image(size, overlap):
    images = torch.randn(2, 3, *size, dtype=torch.float64)
    output = tiled_inference(lambda x: x[:, :2] * 3, images, (4, 6), overlap)
    torch.testing.assert_close(output, images[:, :2] * 3)


def test_uint8_images_are_tiled():
    images = torch.arange(60, dtype=torch.uint8).reshape(1, 1, 6, 10)
    output = tiled_inference(lambda x: x.float() / 7, images, (4, 6))
    torch.testing.assert_close(output, images.float() / 7)


def test_outputs_are_averaged_where_tiles_overlap():
    numbers = iter((1.0, 3.0))
    output = tiled_inference(
        lambda x: torch.full_like(x, next(numbers)), torch.zeros(1, 1, 2, 6), (2, 4)
    )
    assert output[0, 0, 0].tolist() == [1, 1, 2, 2, 3, 3]


@given(st.integers(1, 60), st.integers(1, 20), st.floats(0, 0.95))
def test_tiles_cover_the_axis_and_overlap_enough(length, tile, overlap):
    positions = tile_starts(length, tile, overlap)
    assert positions[0] == 0
    assert positions[-1] == max(0, length - tile)
    steps = [after - before for before, after in itertools.pairwise(positions)]
    assert all(0 < step <= max(1, tile * (1 - overlap)) for step in steps)


@pytest.mark.parametrize("overlap", [-0.1, 1.0])
def test_an_overlap_out_of_range_is_refused(overlap):
    with pytest.raises(InputError) as caught:
        tiled_inference(lambda x: x, torch.zeros(1, 1, 4, 4), (2, 2), overlap)
    assert caught.value.field == "overlap"
