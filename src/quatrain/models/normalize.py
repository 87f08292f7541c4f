"""Normalization of images by the statistics of ImageNet.

Shapes: n images, h w their size.
"""

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from quatrain.specs import name_missing_extra

with name_missing_extra():
    from torchvision.transforms.v2 import functional

MEAN = (0.485, 0.456, 0.406)
"""Mean of red, green and blue over ImageNet, with values from 0 to 1."""
DEVIATION = (0.229, 0.224, 0.225)
"""Standard deviation of the same."""


def normalize_images(images: UInt8[Tensor, "n 3 h w"]) -> Float[Tensor, "n 3 h w"]:
    """(x / 255 - mean) / deviation per channel, in float32, on the device of the images.

    Source: the weights of torchvision, whose presets normalize by these numbers,
        https://docs.pytorch.org/vision/stable/models.html.
    """
    scaled = functional.to_dtype(images, torch.float32, scale=True)
    return functional.normalize(scaled, list(MEAN), list(DEVIATION))
