import pytest
import torch

from quatrain.models.normalize import DEVIATION, MEAN, normalize_images


def test_each_channel_is_shifted_and_scaled_by_its_own_numbers():
    images = torch.tensor([0, 128, 255], dtype=torch.uint8)[None, :, None, None].expand(2, 3, 4, 5)
    found = normalize_images(images)
    assert found.dtype == torch.float32
    wanted = [(x / 255 - m) / d for x, m, d in zip((0, 128, 255), MEAN, DEVIATION, strict=True)]
    assert found[1, :, 3, 4].tolist() == pytest.approx(wanted, abs=1e-6)


def test_it_computes_where_the_images_are():
    found = normalize_images(torch.empty(1, 3, 4, 5, dtype=torch.uint8, device="meta"))
    assert (found.device.type, found.shape) == ("meta", (1, 3, 4, 5))
