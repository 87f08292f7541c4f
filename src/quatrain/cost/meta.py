"""Networks and images of sizes alone, on torch's meta device: what costs are counted on.

Shapes: an image is h high and w wide.
"""

from typing import Any

import torch
from jaxtyping import UInt8
from torch import Tensor


def build_on_meta(spec: Any, classes: int, **backbone: object) -> Any:
    """The network of a detector's or segmenter's spec, with changed fields of its backbone.

    Weights are not read.
    """
    changed = spec.backbone.model_copy(update={"weights": None, **backbone})
    with torch.device("meta"):
        return spec.model_copy(update={"backbone": changed}).build(classes)


def meta_image(size: tuple[int, int]) -> UInt8[Tensor, "1 3 h w"]:
    """An image of (height, width)."""
    return torch.empty(1, 3, *size, dtype=torch.uint8, device="meta")
