"""A network applied tile by tile, for images larger than those that it was trained on.

    logits = tiled_inference(segmenter, images, tile=(769, 769))     # (N, C, H, W)

Shapes: n images, h w their size, i channels of an image, c channels of the network's output.
"""

import itertools
import math
from collections.abc import Callable

import torch
from jaxtyping import Float, Num
from torch import Tensor
from torch.nn.functional import pad

from quatrain.specs import InputError

Network = Callable[[Num[Tensor, "n i y x"]], Float[Tensor, "n c y x"]]


def tiled_inference(
    network: Network,
    images: Num[Tensor, "n i h w"],
    tile: tuple[int, int],
    overlap: float = 1 / 3,
) -> Float[Tensor, "n c h w"]:
    """The mean of the network's output over all tiles that hold a pixel.

    Neighbouring tiles share at least `overlap` of their size and are spread evenly; along an axis
    on which the image is smaller than a tile, it is the tile.

    Source: Huang et al. 2019, https://arxiv.org/abs/1811.11721, whose released evaluation slides
        tiles of 769 pixels that overlap by a third.

    Raises:
        InputError: if the overlap is not at least 0 and below 1.
    """
    if not 0 <= overlap < 1:
        raise InputError("overlap", overlap, "at least 0 and below 1", "use 1/3")
    height, width = images.shape[2:]
    tall, wide = (min(size, reach) for size, reach in zip(tile, (height, width), strict=True))
    total = count = images.new_zeros(1, 1, height, width)
    for top, left in itertools.product(starts(height, tall, overlap), starts(width, wide, overlap)):
        found = network(images[..., top : top + tall, left : left + wide])
        around = (left, width - left - wide, top, height - top - tall)
        total = total + pad(found, around)
        count = count + pad(torch.ones_like(found[:1, :1]), around)
    return total / count


def starts(length: int, tile: int, overlap: float) -> list[int]:
    """Where tiles begin along an axis at least as long as one.

    Example:
        >>> starts(10, 4, 0.5)
        [0, 2, 4, 6]
    """
    if length <= tile:
        return [0]
    step = max(1, math.floor(tile * (1 - overlap)))
    steps = math.ceil((length - tile) / step)
    return [(length - tile) * number // steps for number in range(steps + 1)]
