import pytest
import torch

from quatrain.models.normalize import DEVIATION, MEAN, normalize_images


def test_each_channel_is_normalized_by_its_own_statistics():
    images = torch.tensor([0, 128, 255], dtype=torch.uint8)[None, :, None, None].expand(2, 3, 4, 5)
    normalized = normalize_images(images)
    assert normalized.dtype == torch.float32
    expected = [(x / 255 - m) / d for x, m, d in zip((0, 128, 255), MEAN, DEVIATION, strict=True)]
    assert normalized[1, :, 3, 4].tolist() == pytest.approx(expected, abs=1e-6)


def test_it_computes_on_the_device_of_the_images():
    normalized = normalize_images(torch.empty(1, 3, 4, 5, dtype=torch.uint8, device="meta"))
    assert (normalized.device.type, normalized.shape) == ("meta", (1, 3, 4, 5))
