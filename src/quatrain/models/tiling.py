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
    """The output of a network for each pixel, averaged over all tiles that contain the pixel.

    Tiles are spaced evenly and neighbours overlap by at least `overlap` of their size; along an
    axis on which the image is smaller than a tile, the tile is as long as the image.

    Source: Huang et al. 2019, https://arxiv.org/abs/1811.11721, whose released evaluation slides
        tiles of 769 pixels that overlap by a third.
    """
    if not 0 <= overlap < 1:
        raise InputError(f"overlap={overlap} is not at least 0 and below 1; use 1/3", "overlap")
    height, width = images.shape[2:]
    rows, columns = min(tile[0], height), min(tile[1], width)
    total = count = images.new_zeros(1, 1, height, width)
    for top, left in itertools.product(
        tile_starts(height, rows, overlap), tile_starts(width, columns, overlap)
    ):
        output = network(images[..., top : top + rows, left : left + columns])
        padding = (left, width - left - columns, top, height - top - rows)
        total = total + pad(output, padding)
        count = count + pad(torch.ones_like(output[:1, :1]), padding)
    return total / count


def tile_starts(length: int, tile: int, overlap: float) -> list[int]:
    """The positions of tiles along an axis.

    Example:
        >>> tile_starts(10, 4, 0.5)
        [0, 2, 4, 6]
    """
    if length <= tile:
        return [0]
    step = max(1, math.floor(tile * (1 - overlap)))
    steps = math.ceil((length - tile) / step)
    return [(length - tile) * number // steps for number in range(steps + 1)]
