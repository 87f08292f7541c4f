import pytest
import torch

from quatrain.specs import SpecError
from quatrain.tasks.segmentation.testing import TilesSpec, WholeImageSpec


def looked_at(testing, size):
    """The size of everything that the network was shown, and the number of times."""
    seen = []

    def network(images):
        seen.append(tuple(images.shape[2:]))
        return images[:, :2].float()

    images = torch.randint(256, (1, 3, *size), dtype=torch.uint8)
    torch.testing.assert_close(testing.logits(network, images), images[:, :2].float())
    assert set(seen) == {testing.seen(size)}
    return seen


def test_a_whole_image_is_shown_once():
    assert looked_at(WholeImageSpec(), (30, 50)) == [(30, 50)]


def test_tiles_are_shown_one_after_the_other():
    assert looked_at(TilesSpec(tile=24), (30, 50)) == [(24, 24)] * 6
    assert looked_at(TilesSpec(tile=40, overlap=0), (30, 50)) == [(30, 40)] * 2
    assert looked_at(TilesSpec(), (30, 50)) == [(30, 50)]


def test_an_overlap_of_a_whole_tile_is_refused():
    with pytest.raises(SpecError, match=r"TilesSpec\.overlap"):
        TilesSpec(overlap=1)
