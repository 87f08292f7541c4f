"""Networks and images on the meta device, to count multiply-adds without memory or time.

Shapes: an image is h high and w wide.
"""

from typing import Any

import torch
from jaxtyping import UInt8
from torch import Tensor


def build_on_meta(spec: Any, classes: int) -> Any:
    """Build a detector or segmenter from its spec on the meta device, without reading weights."""
    backbone = spec.backbone.model_copy(update={"weights": None})
    with torch.device("meta"):
        return spec.model_copy(update={"backbone": backbone}).build(classes)


def meta_image(size: tuple[int, int]) -> UInt8[Tensor, "1 3 h w"]:
    """An image of a size (height, width)."""
    return torch.empty(1, 3, *size, dtype=torch.uint8, device="meta")
