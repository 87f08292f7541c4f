import pytest
import torch

from quatrain.specs import SpecError
from quatrain.tasks.segmentation.inference import TilesSpec, WholeImageSpec


def input_sizes(testing, size):
    """The sizes of all inputs of the network for an image of `size`."""
    sizes = []

    def network(images):
        sizes.append(tuple(images.shape[2:]))
        return images[:, :2].float()

    images = torch.randint(256, (1, 3, *size), dtype=torch.uint8)
    torch.testing.assert_close(testing.logits(network, images), images[:, :2].float())
    assert set(sizes) == {testing.input_size(size)}
    return sizes


def test_a_whole_image_is_one_input():
    assert input_sizes(WholeImageSpec(), (30, 50)) == [(30, 50)]


def test_tiles_cover_the_image():
    assert input_sizes(TilesSpec(tile=24), (30, 50)) == [(24, 24)] * 6
    assert input_sizes(TilesSpec(tile=40, overlap=0), (30, 50)) == [(30, 40)] * 2
    assert input_sizes(TilesSpec(), (30, 50)) == [(30, 50)]


def test_an_overlap_of_a_whole_tile_is_refused():
    with pytest.raises(SpecError) as error:
        TilesSpec(overlap=1)
    assert error.value.field == "TilesSpec.overlap"
